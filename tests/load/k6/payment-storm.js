// 30 of 100 payments are declined: every one of them takes a reservation back.
import { arrivals, buy, demandCustomers, number, shelf } from "./shop.js";

const RATE = number("RATE", 100);
const DECLINED = ["tok_card_declined", "tok_insufficient_funds"];

export const options = {
  scenarios: { payment_storm: arrivals(RATE, __ENV.DURATION || "60s") },
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
  const declined = Math.random() < Number(__ENV.DECLINES || "0.3");
  buy(shop.products, declined ? DECLINED[Math.floor(Math.random() * DECLINED.length)] : "tok_ok");
}
