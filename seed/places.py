"""Real cities, and where the shop's warehouses stand. Coordinates are degrees."""

from typing import Final, NamedTuple


class City(NamedTuple):
    """A city: its state, the first three digits of its ZIP codes, its coordinates, and inhabitants in thousands."""

    name: str
    region: str
    zip_prefix: str
    latitude: float
    longitude: float
    inhabitants: int

    @property
    def area(self) -> str:
        """Which of :data:`REGIONS` it lies in."""
        return next(name for name, states in _STATES.items() if self.region in states)


class Site(NamedTuple):
    """A warehouse. ``code`` is its short name; ``share`` is its part of the stock."""

    code: str
    name: str
    city: str
    region: str
    postal_code: str
    latitude: float
    longitude: float
    share: float


_STATES: Final = {
    "Northeast": ("NY", "PA", "MA"),
    "Midwest": ("IL", "OH", "IN", "MI", "WI", "MO", "NE", "MN"),
    "South": ("TX", "FL", "NC", "OK", "TN", "DC", "KY", "MD", "GA", "LA", "VA"),
    "West": ("CA", "AZ", "WA", "CO", "NV", "OR", "NM", "HI", "AK", "UT", "ID"),
}
REGIONS: Final = tuple(_STATES)

CITIES: Final = (
    City("New York", "NY", "100", 40.7128, -74.0060, 8336),
    City("Los Angeles", "CA", "900", 34.0522, -118.2437, 3822),
    City("Chicago", "IL", "606", 41.8781, -87.6298, 2665),
    City("Houston", "TX", "770", 29.7604, -95.3698, 2303),
    City("Phoenix", "AZ", "850", 33.4484, -112.0740, 1644),
    City("Philadelphia", "PA", "191", 39.9526, -75.1652, 1567),
    City("San Antonio", "TX", "782", 29.4241, -98.4936, 1473),
    City("San Diego", "CA", "921", 32.7157, -117.1611, 1381),
    City("Dallas", "TX", "752", 32.7767, -96.7970, 1300),
    City("Austin", "TX", "787", 30.2672, -97.7431, 975),
    City("Jacksonville", "FL", "322", 30.3322, -81.6557, 971),
    City("San Jose", "CA", "951", 37.3382, -121.8863, 971),
    City("Columbus", "OH", "432", 39.9612, -82.9988, 908),
    City("Charlotte", "NC", "282", 35.2271, -80.8431, 898),
    City("Indianapolis", "IN", "462", 39.7684, -86.1581, 880),
    City("San Francisco", "CA", "941", 37.7749, -122.4194, 808),
    City("Seattle", "WA", "981", 47.6062, -122.3321, 749),
    City("Denver", "CO", "802", 39.7392, -104.9903, 713),
    City("Oklahoma City", "OK", "731", 35.4676, -97.5164, 695),
    City("Nashville", "TN", "372", 36.1627, -86.7816, 684),
    City("Washington", "DC", "200", 38.9072, -77.0369, 672),
    City("El Paso", "TX", "799", 31.7619, -106.4850, 678),
    City("Las Vegas", "NV", "891", 36.1699, -115.1398, 656),
    City("Boston", "MA", "021", 42.3601, -71.0589, 651),
    City("Portland", "OR", "972", 45.5152, -122.6784, 635),
    City("Louisville", "KY", "402", 38.2527, -85.7585, 625),
    City("Memphis", "TN", "381", 35.1495, -90.0490, 621),
    City("Detroit", "MI", "482", 42.3314, -83.0458, 620),
    City("Baltimore", "MD", "212", 39.2904, -76.6122, 570),
    City("Milwaukee", "WI", "532", 43.0389, -87.9065, 563),
    City("Albuquerque", "NM", "871", 35.0844, -106.6504, 561),
    City("Tucson", "AZ", "857", 32.2226, -110.9747, 547),
    City("Fresno", "CA", "937", 36.7378, -119.7871, 545),
    City("Sacramento", "CA", "958", 38.5816, -121.4944, 528),
    City("Kansas City", "MO", "641", 39.0997, -94.5786, 510),
    City("Atlanta", "GA", "303", 33.7490, -84.3880, 499),
    City("Omaha", "NE", "681", 41.2565, -95.9345, 486),
    City("Raleigh", "NC", "276", 35.7796, -78.6382, 476),
    City("Miami", "FL", "331", 25.7617, -80.1918, 449),
    City("Minneapolis", "MN", "554", 44.9778, -93.2650, 425),
    City("Tampa", "FL", "336", 27.9506, -82.4572, 399),
    City("New Orleans", "LA", "701", 29.9511, -90.0715, 370),
    City("Cleveland", "OH", "441", 41.4993, -81.6944, 361),
    City("Honolulu", "HI", "968", 21.3069, -157.8583, 343),
    City("Pittsburgh", "PA", "152", 40.4406, -79.9959, 303),
    City("Cincinnati", "OH", "452", 39.1031, -84.5120, 309),
    City("Anchorage", "AK", "995", 61.2181, -149.9003, 287),
    City("Salt Lake City", "UT", "841", 40.7608, -111.8910, 204),
    City("Boise", "ID", "837", 43.6150, -116.2023, 237),
    City("Richmond", "VA", "232", 37.5407, -77.4360, 229),
)

WAREHOUSES: Final = (
    Site("EWR", "Newark", "Newark", "NJ", "07114", 40.7357, -74.1724, 0.26),
    Site("ATL", "Atlanta South", "Atlanta", "GA", "30336", 33.7490, -84.3880, 0.20),
    Site("ORD", "Chicago West", "Chicago", "IL", "60632", 41.8781, -87.6298, 0.20),
    Site("DFW", "Dallas North", "Dallas", "TX", "75235", 32.7767, -96.7970, 0.17),
    Site("RNO", "Reno", "Reno", "NV", "89506", 39.5296, -119.8138, 0.17),
)
