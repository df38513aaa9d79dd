// Twilio's own validator for Node, asked one question a line: JSON {token, url, params: [[name, value], …], signature}
// on standard input, JSON {expected, valid} on standard output.
import { createInterface } from "node:readline";
import twilio from "twilio";

/** Repeated names become arrays, as the body parser of a web server gives them. */
function grouped(pairs) {
  const params = Object.create(null);
  for (const [name, value] of pairs) {
    params[name] = name in params ? [params[name], value].flat() : value;
  }
  return params;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { token, url, params, signature } = JSON.parse(line);
  const expected = twilio.getExpectedTwilioSignature(token, url, grouped(params));
  const valid = twilio.validateRequest(token, signature, url, grouped(params));
  process.stdout.write(JSON.stringify({ expected, valid }) + "\n");
}
