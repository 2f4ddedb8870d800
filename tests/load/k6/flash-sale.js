// Everybody wants the same hundred units within seconds: each has it in the cart already and asks once.
import { fail, sleep } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { arrivals, call, checkOut, customers, number, request } from "./shop.js";
import { Gauge } from "k6/metrics";

const RATE = number("RATE", 2000);
const UNITS = number("UNITS", 100);
const SECONDS = Math.max(1, Math.floor(customers.length / RATE));
const ADMIN = __ENV.ADMIN_TOKEN;
const OUT_OF_STOCK = 409;
const SETTLE_SECONDS = 60;

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
    body: { warehouse_id: warehouse, units: UNITS },
    headers: { "Idempotency-Key": crypto.randomUUID() },
  });
  for (let tries = 0; call("show_product", { path: { product_id: product } }).json("stock") !== UNITS; tries += 1) {
    if (tries === 50) fail("the units do not come on sale");
    sleep(0.2);
  }
  // carts take one request each, before the clock starts
  for (let n = 0; n < customers.length; n += 100) {
    http.batch(
      customers.slice(n, n + 100).map((token) => request("add_to_cart", { token, body: { product_id: product } })),
    );
  }
  return { product };
}

export default function () {
  const token = customers[exec.scenario.iterationInTest % customers.length];
  checkOut(token, "tok_ok", [OUT_OF_STOCK]);
}

// what is left when the saga is done: nothing, and nothing was sold twice
export function teardown(sale) {
  let left = UNITS;
  for (let waited = 0; waited < SETTLE_SECONDS && left > 0; waited += 1) {
    left = admin("show_stock", { path: { product_id: sale.product } }).json("available");
    sleep(1);
  }
  sold.add(UNITS - left);
}
