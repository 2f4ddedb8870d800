// 100 orders a second for a minute: what the shop carries all day.
import { arrivals, buy, demandCustomers, number, shelf } from "./shop.js";

const RATE = number("RATE", 100);

export const options = {
  scenarios: { sustained: arrivals(RATE, __ENV.DURATION || "60s") },
  thresholds: {
    "http_req_duration{name:check_out}": ["p(99)<500"],
    checkouts_answered: ["rate>0.999"],
    dropped_iterations: ["count==0"],
  },
};

export function setup() {
  demandCustomers(RATE);
  return { products: shelf(20) };
}

export default function (shop) {
  buy(shop.products, "tok_ok");
}
