"""The words that names are made of."""

from typing import Final, NamedTuple


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES: Final = _words(
    "Ada Adam Aisha Alba Alma Amara Amir Anders Anika Anton Ari Arlo Asha Aurel Beatriz Ben Bianca Boris Bruno Callum "
    "Carmen Cedric Celia Chen Clara Cora Dalia Damir Dario Delia Diego Dora Edda Edgar Elena Eli Elsa Emil Enzo Esme "
    "Farah Felix Fiona Flora Frida Gemma Gil Greta Hana Hassan Hector Hilda Hugo Ida Ines Ingrid Iris Ivan Jada Jamal "
    "Jana Jonas Juno Kai Karim Keiko Kira Lars Leila Lena Levi Lina Livia Louis Luca Lucia Mabel Maya Malik Mara Marco "
    "Mei Milo Mina Mira Nadia Naomi Nico Nina Noor Nora Olga Omar Orla Oscar Otto Paola Pavel Petra Pia Quinn Rafael "
    "Rania Ravi Rita Rosa Rowan Ruben Sami Sana Selma Simon Sofia Sven Talia Tariq Tess Theo Tilda Tomas Uma Vera "
    "Viktor Vito Wanda Yara Yusuf Zara Zoe"
)

LAST_NAMES: Final = _words(
    "Abara Alder Amsel Arden Ashby Balint Banerji Barlow Bell Bergen Birch Blom Brandt Brook Calder Carver Castell "
    "Cho Cole Corvin Dahl Darrow Delgado Demir Doran Drake Eaves Eklund Ellery Falk Farrow Fenn Ferro Finch Flint "
    "Frost Gale Garland Garza Grange Greer Hale Hartmann Haruki Hawthorn Heller Holm Ibarra Ilic Ives Jansen Jarrow "
    "Kade Kamara Keller Khoury Kline Kovac Lang Larkin Laurel Leclair Lind Lorne Lund Madani Marsh Mercer Meyer "
    "Mistry Moreau Nair Nakano Nash Nolan Novak Oduya Okada Orr Osei Palmer Park Pereira Petrov Pike Quade Quist Rao "
    "Raven Reyes Rhodes Ridge Rossi Ruiz Sable Salas Santoro Sato Shaw Sloan Sorel Stone Strand Sung Tamm Tanaka "
    "Thorne Torres Tran Ueda Vale Vance Varga Vega Wells West Wilder Winter Wren Yamin York Zeller"
)

STREETS: Final = _words(
    "Acorn Alder Aspen Beacon Birch Bluff Bridge Canal Cedar Chapel Chestnut Church Clover Court Creek Dogwood Elm "
    "Fern Field Forest Foundry Garden Grove Harbor Hawthorn Hazel Heron Hickory Hill Juniper Lake Larch Laurel "
    "Library Linden Magnolia Maple Market Meadow Mill Mulberry Oak Orchard Park Pearl Pine Pond Poplar Prairie "
    "Quarry Railroad Ridge River Rowan School Spring Spruce Station Summit Sycamore Valley Walnut Water Willow"
)

STREET_KINDS: Final = ("Street", "Avenue", "Road", "Lane", "Drive", "Court")

BRANDS: Final = _words(
    "Alvento Arbora Borealis Brightfen Calloway Corvana Dunmere Eastlake Everby Fjordal Greenhollow Halden Ironleaf "
    "Juniper&Co Kestrel Lumora Marlowe Nordvik Oakhurst Pelham Quillon Ravenna Solbright Tamarind Umbria Vellum "
    "Wayfare Xanadu Yarrow Zephyra"
)

QUALITIES: Final = _words(
    "Classic Compact Deluxe Essential Everyday Heritage Signature Slim Studio Trail Travel Urban Modern Artisan "
    "Coastal Alpine Select Prime Pure Basic Pro Nordic Metro Original Vintage Ultra Light Premium Comfort Active"
)


class Category(NamedTuple):
    """A category: what an article of it typically costs in dollars, and what its articles are called."""

    name: str
    price: float
    articles: tuple[str, ...]


def _category(name: str, price: float, articles: str) -> Category:
    return Category(name, price, tuple(article.strip() for article in articles.split(",")))


CATEGORIES: Final = (
    _category("Headphones", 55, "Headphones,Earbuds,Headset,Sport Earphones,Studio Monitors"),
    _category("Speakers", 60, "Bluetooth Speaker,Soundbar,Bookshelf Speaker,Shower Speaker"),
    _category("Cameras", 160, "Action Camera,Instant Camera,Trail Camera,Webcam"),
    _category("Phone Accessories", 15, "Phone Case,Screen Protector,Charging Cable,Car Mount,Power Bank"),
    _category("Computer Accessories", 32, "Keyboard,Mouse,USB Hub,Laptop Stand,Mouse Pad,Laptop Sleeve"),
    _category("Smart Home", 45, "Smart Plug,Light Strip,Motion Sensor,Door Sensor,Smart Bulb"),
    _category("Wearables", 95, "Fitness Band,Smart Watch,Watch Strap,Heart Rate Monitor"),
    _category("Gaming", 40, "Game Controller,Gaming Mouse,Headset Stand,Charging Dock"),
    _category("Televisions & Video", 120, "Streaming Stick,Wall Mount,Projector,HDMI Cable"),
    _category("Networking", 50, "Wi-Fi Router,Range Extender,Network Switch,Ethernet Cable"),
    _category("Cookware", 42, "Frying Pan,Saucepan,Dutch Oven,Wok,Baking Tray,Casserole"),
    _category("Kitchen Tools", 14, "Peeler,Whisk,Spatula,Garlic Press,Grater,Measuring Cups"),
    _category("Small Appliances", 65, "Blender,Toaster,Kettle,Coffee Grinder,Rice Cooker,Hand Mixer"),
    _category("Tableware", 24, "Dinner Plates,Bowls,Mugs,Wine Glasses,Cutlery Set"),
    _category("Coffee & Tea", 18, "Coffee Beans,Green Tea,Moka Pot,French Press,Herbal Tea"),
    _category("Pantry", 9, "Olive Oil,Pasta,Honey,Granola,Spice Set,Dark Chocolate"),
    _category("Bedding", 48, "Duvet Cover,Pillow,Fitted Sheet,Throw Blanket,Mattress Topper"),
    _category("Bath", 20, "Bath Towel,Bath Mat,Soap Dispenser,Shower Curtain,Robe"),
    _category("Furniture", 130, "Side Table,Bookshelf,Desk,Stool,Shoe Rack,Coat Stand"),
    _category("Lighting", 38, "Desk Lamp,Floor Lamp,Pendant Light,Night Light,Lantern"),
    _category("Home Decor", 22, "Picture Frame,Vase,Wall Clock,Candle,Mirror,Cushion"),
    _category("Storage", 19, "Storage Box,Basket,Drawer Organizer,Hanger Set,Shelf Liner"),
    _category("Cleaning", 12, "Microfiber Cloths,Mop,Laundry Detergent,Sponge Set,Dustpan"),
    _category("Garden", 26, "Watering Can,Pruning Shears,Planter,Garden Hose,Seed Kit"),
    _category("Tools", 36, "Screwdriver Set,Cordless Drill,Hammer,Tape Measure,Toolbox"),
    _category("Car Care", 21, "Car Vacuum,Seat Cover,Dash Camera,Tire Gauge,Floor Mats"),
    _category("Women's Clothing", 38, "Summer Dress,Blouse,Cardigan,Skirt,Jeans,Raincoat"),
    _category("Men's Clothing", 36, "Oxford Shirt,Chinos,Sweater,T-Shirt,Jacket,Polo Shirt"),
    _category("Kids' Clothing", 20, "Hoodie,Leggings,Pajamas,Overalls,Rain Jacket"),
    _category("Shoes", 68, "Sneakers,Boots,Loafers,Sandals,Running Shoes"),
    _category("Bags", 52, "Backpack,Tote Bag,Messenger Bag,Duffel Bag,Wallet"),
    _category("Jewelry", 44, "Necklace,Earrings,Bracelet,Ring,Pendant"),
    _category("Watches", 110, "Field Watch,Dress Watch,Diver Watch,Chronograph"),
    _category("Skin Care", 18, "Face Cream,Cleanser,Sunscreen,Serum,Lip Balm"),
    _category("Hair Care", 14, "Shampoo,Conditioner,Hair Dryer,Hair Brush,Styling Cream"),
    _category("Health", 22, "Vitamin C,Massage Ball,Thermometer,First Aid Kit,Sleep Mask"),
    _category("Fitness", 34, "Yoga Mat,Dumbbells,Resistance Bands,Jump Rope,Foam Roller"),
    _category("Cycling", 40, "Bike Light,Bike Pump,Cycling Gloves,Bike Lock,Helmet"),
    _category("Camping", 58, "Tent,Sleeping Bag,Camp Stove,Headlamp,Cooler,Hammock"),
    _category("Water Sports", 46, "Swim Goggles,Dry Bag,Wetsuit,Snorkel Set,Kickboard"),
    _category("Winter Sports", 62, "Ski Gloves,Snow Goggles,Thermal Socks,Sled,Beanie"),
    _category("Toys", 22, "Building Blocks,Plush Bear,Wooden Train,Kite,Marble Run"),
    _category("Board Games", 27, "Strategy Game,Card Game,Puzzle,Party Game,Chess Set"),
    _category("Baby", 26, "Baby Carrier,Bottle Set,Teething Ring,Swaddle,Play Mat"),
    _category("Pets", 19, "Dog Leash,Cat Tree,Pet Bed,Food Bowl,Chew Toy"),
    _category("Books", 15, "Cookbook,Field Guide,Atlas,Notebook,Novel"),
    _category("Office", 13, "Notebook,Pen Set,Desk Organizer,Stapler,Whiteboard"),
    _category("Art & Crafts", 17, "Watercolor Set,Sketchbook,Knitting Kit,Brush Set,Clay"),
    _category("Musical Instruments", 90, "Ukulele,Harmonica,Guitar Strings,Metronome,Keyboard Stand"),
    _category("Travel", 47, "Suitcase,Neck Pillow,Travel Adapter,Packing Cubes,Passport Holder"),
)
