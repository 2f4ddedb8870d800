// What the scenarios share: who buys, what, and how. Settings are environment variables; see ../README.md.
import { check, fail } from "k6";
import exec from "k6/execution";
import http from "k6/http";
import { SharedArray } from "k6/data";
import { Counter, Rate } from "k6/metrics";

const requests = JSON.parse(open("../requests.json"));

export const BASE_URL = __ENV.BASE_URL || "http://127.0.0.1:18000";
const LIMIT = Number(__ENV.CHECKOUT_LIMIT || "3");

export const customers = new SharedArray("customers", () => {
  // surge tokens 1000 > tests/load/tokens.txt
  return open(__ENV.TOKENS || "../tokens.txt").split("\n").filter((line) => line.length > 0);
});

export const accepted = new Counter("orders_accepted");
export const refused = new Counter("orders_refused");
export const placed = new Rate("checkouts_answered");

export function number(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!(value > 0)) throw new Error(`${name} must be a number above 0, not ${__ENV[name]}`);
  return value;
}

// arrivals that do not wait for answers; the machine must have a VU to spare for each order under way
export function arrivals(rate, duration) {
  return {
    executor: "constant-arrival-rate",
    rate,
    timeUnit: "1s",
    duration,
    preAllocatedVUs: Math.max(10, Math.ceil(rate / 2)),
    maxVUs: Math.max(50, rate * 4),
  };
}

export function request(name, { token, path = {}, body = {}, headers = {}, expected = [] } = {}) {
  const known = requests[name];
  const address = known.path.replace(/\{(\w+)\}/g, (_, key) => path[key]);
  const query = Object.entries({ ...known.query, ...(known.method === "GET" ? body : {}) })
    .map(([key, value]) => `${key}=${encodeURIComponent(value)}`)
    .join("&");
  const content = known.body
    ? JSON.stringify(known.body, (_, value) =>
        typeof value === "string" && value.startsWith("$") ? body[value.slice(1)] : value,
      )
    : null;
  const params = {
    tags: { name },
    headers: {
      "Content-Type": "application/json",
      ...(token ? { Authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
  };
  if (expected.length) params.responseCallback = http.expectedStatuses(...expected);
  return { method: known.method, url: `${BASE_URL}${address}${query ? `?${query}` : ""}`, body: content, params };
}

export function call(name, options) {
  const { method, url, body, params } = request(name, options);
  return http.request(method, url, body, params);
}

// ids of products with at least so many units
export function shelf(atLeast) {
  const found = [];
  for (let page = 1; page <= 20; page += 1) {
    const answer = call("list_products", { body: { page } });
    if (answer.status !== 200) fail(`the shop can't be read: ${answer.status} ${answer.body}`);
    const ids = answer.json("items.#.id");
    answer.json("items.#.stock").forEach((stock, n) => stock >= atLeast && found.push(ids[n]));
    if (!answer.json("has_more")) break;
  }
  if (!found.length) fail(`no product has ${atLeast} units`);
  return found;
}

// a shop that lets a customer check out so often a minute needs so many customers for a rate
export function demandCustomers(rate) {
  const needed = LIMIT > 0 ? Math.ceil((rate * 60) / LIMIT) + 1 : 1;
  if (customers.length < needed) {
    fail(`${rate} orders/s at ${LIMIT} checkouts a minute need ${needed} customers; TOKENS has ${customers.length}`);
  }
}

export function customer() {
  return customers[exec.scenario.iterationInTest % customers.length];
}

export function buy(products, paymentToken) {
  const token = customer();
  const product = products[Math.floor(Math.random() * products.length)];
  const added = call("add_to_cart", { token, body: { product_id: product } });
  if (!check(added, { "put into the cart": (answer) => answer.status === 200 })) {
    placed.add(false);
    return;
  }
  checkOut(token, paymentToken);
}

// 409 (sold out) and 429 (too often) are answers too; a lost connection or a 5xx is none
export function checkOut(token, paymentToken, refusals = []) {
  const answer = call("check_out", {
    token,
    body: { payment_token: paymentToken },
    headers: { "Idempotency-Key": crypto.randomUUID() },
    expected: [202, ...refusals],
  });
  const ok = answer.status === 202 && answer.json("order_id");
  placed.add(Boolean(ok) || refusals.includes(answer.status));
  if (ok) accepted.add(1);
  else refused.add(1, { status: String(answer.status) });
}
