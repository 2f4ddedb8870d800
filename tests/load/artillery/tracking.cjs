// Counts what a socket is told, and measures how long after its transition the news came.
"use strict";

function listen(context, events, done) {
  context.ws.on("message", (data) => {
    const message = JSON.parse(data.toString());
    if (message.type === "snapshot") {
      events.emit("counter", "tracking.signed_in", 1);
    } else if (message.type.startsWith("order.") && message.occurred_at) {
      events.emit("counter", "tracking.transitions", 1);
      events.emit("histogram", "tracking.delay_ms", Math.max(0, Date.now() - Date.parse(message.occurred_at)));
    }
  });
  context.ws.on("close", (code) => events.emit("counter", `tracking.closed.${code}`, 1));
  done();
}

module.exports = { listen };
