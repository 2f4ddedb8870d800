// A flash sale: everybody wants the same hundred units within seconds; each has one in the cart and asks once.
import { fail, sleep } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { arrivals, call, checkOut, customers, number, request } from "./shop.js";
import { Gauge } from "k6/metrics";

const RATE = number("RATE", 2000);
const UNITS = number("UNITS", 100);
const SECONDS = Math.max(1, Math.floor(customers.length / RATE));
const ADMIN = __ENV.ADMIN_TOKEN;
const SOLD_OUT = 409;
const SETTLE_SECONDS = 60;
// carts take one request each before the sale begins
const OPENS_IN_SECONDS = 10 + Math.ceil(customers.length / 150);
const LASTS_SECONDS = 600;

const sold = new Gauge("units_sold");

export const options = {
  scenarios: { flash_sale: arrivals(RATE, `${SECONDS}s`) },
  setupTimeout: "300s",
  teardownTimeout: "120s",
  thresholds: {
    "http_req_duration{name:check_out}": ["p(99)<1000"],
    checkouts_answered: ["rate>0.999"],
    dropped_iterations: ["count==0"],
    units_sold: [`value==${UNITS}`],
  },
};

function admin(name, options) {
  const answer = call(name, { token: ADMIN, ...options });
  if (answer.status >= 300) fail(`${name}: ${answer.status} ${answer.body}`);
  return answer;
}

export function setup() {
  if (!ADMIN) fail("set ADMIN_TOKEN: surge token admin@surge.example");
  const sku = `FLASH-${Date.now()}`;
  const category = call("list_categories").json("items.0.slug");
  const warehouse = call("list_warehouses").json("0.id");
  const product = admin("create_product", { body: { sku, category } }).json("id");
  admin("restock", {
    path: { product_id: product },
    body: { warehouse_id: warehouse, units: 2 * UNITS },
    headers: { "Idempotency-Key": crypto.randomUUID() },
  });
  for (let tries = 0; call("show_product", { path: { product_id: product } }).json("stock") !== 2 * UNITS; tries += 1) {
    if (tries === 50) fail("the units do not come into stock");
    sleep(0.2);
  }
  const opens = Date.now() + OPENS_IN_SECONDS * 1000;
  const sale = admin("open_sale", {
    body: {
      product_id: product,
      units: UNITS,
      starts_at: new Date(opens).toISOString(),
      ends_at: new Date(opens + LASTS_SECONDS * 1000).toISOString(),
    },
  }).json("id");
  for (let n = 0; n < customers.length; n += 100) {
    http.batch(
      customers.slice(n, n + 100).map((token) => request("add_to_cart", { token, body: { product_id: product } })),
    );
  }
  const left = (opens - Date.now()) / 1000;
  if (left < 0) fail("the carts took longer than the sale waits: fewer customers, please");
  sleep(left + 1);
  return { sale };
}

export default function () {
  const token = customers[exec.scenario.iterationInTest % customers.length];
  checkOut(token, "tok_ok", [SOLD_OUT]);
}

// what the sale has sold once nobody waits any more: all of its units, and not one besides
export function teardown({ sale }) {
  let found = { sold: 0, held: 0, waiting: 0 };
  for (let waited = 0; waited < SETTLE_SECONDS; waited += 1) {
    found = admin("show_sale", { path: { sale_id: sale } }).json();
    if (found.sold >= UNITS && found.held + found.waiting === 0) break;
    sleep(1);
  }
  sold.add(found.sold);
}
