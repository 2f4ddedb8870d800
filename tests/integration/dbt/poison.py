"""A bad batch in the raw tables, as a broken source would write it, and the same batch once the shop has mended it."""

POISON = """
    DROP TABLE IF EXISTS pg_temp.poisoned;
    CREATE TEMP TABLE poisoned AS
    SELECT (SELECT id FROM raw.orders_order_items WHERE __op <> 'd' ORDER BY id LIMIT 1) AS item,
           (SELECT id FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id LIMIT 1) AS lost,
           (SELECT id FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id LIMIT 1 OFFSET 1) AS twice,
           gen_random_uuid() AS orphan, 0.00 AS price, now() AS at;
    UPDATE poisoned SET price = (SELECT price_at_purchase FROM raw.orders_order_items WHERE id = item);
    UPDATE raw.orders_order_items SET price_at_purchase = -1, __emitted_at = now()
    WHERE id = (SELECT item FROM poisoned);
    UPDATE raw.orders_orders SET status = 'teleported', __emitted_at = now()
    WHERE id = (SELECT lost FROM poisoned);
    ALTER TABLE raw.orders_orders DROP CONSTRAINT pk_orders_orders;
    INSERT INTO raw.orders_orders
        (id, user_id, status, total_amount, currency, payment_method, shipping_address, created_at, updated_at,
         __op, __emitted_at)
    SELECT id, user_id, status, total_amount, currency, payment_method, shipping_address, created_at, updated_at,
           'c', now()
    FROM raw.orders_orders WHERE id = (SELECT twice FROM poisoned);
    INSERT INTO raw.orders_order_items
        (id, order_id, product_id, sku, product_name, category, quantity, price_at_purchase, __op, __emitted_at)
    SELECT orphan, gen_random_uuid(), product_id, sku, product_name, category, 1, 1, 'c', now()
    FROM poisoned, (SELECT * FROM raw.orders_order_items LIMIT 1) AS line;
"""

MENDED = """
    UPDATE raw.orders_order_items SET price_at_purchase = price, __emitted_at = now() FROM poisoned
    WHERE id = item;
    UPDATE raw.orders_orders SET status = 'cancelled', cancel_reason = 'admin_request', __emitted_at = now()
    WHERE id = (SELECT lost FROM poisoned);
    DELETE FROM raw.orders_orders USING poisoned WHERE id = twice AND __emitted_at < at;
    ALTER TABLE raw.orders_orders ADD CONSTRAINT pk_orders_orders PRIMARY KEY (id);
    UPDATE raw.orders_order_items SET __op = 'd', __emitted_at = now() WHERE id = (SELECT orphan FROM poisoned);
"""
