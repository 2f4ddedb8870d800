// From 100 to 500 orders a second and back: Black Friday's evening in a few minutes.
import { buy, demandCustomers, number, shelf } from "./shop.js";

const RATE = number("RATE", 500);
const BASE = Math.max(1, Math.round(RATE / 5));

export const options = {
  scenarios: {
    peak: {
      executor: "ramping-arrival-rate",
      startRate: BASE,
      timeUnit: "1s",
      preAllocatedVUs: Math.max(10, Math.ceil(RATE / 2)),
      maxVUs: Math.max(50, RATE * 4),
      stages: [
        { target: BASE, duration: __ENV.CALM || "15s" },
        { target: RATE, duration: __ENV.RAMP || "15s" },
        { target: RATE, duration: __ENV.DURATION || "60s" },
        { target: BASE, duration: __ENV.RAMP || "15s" },
      ],
    },
  },
  thresholds: {
    "http_req_duration{name:check_out}": ["p(99)<2000"],
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
