// The bot's Ed25519 key and the tokens that it signs (BotAuth).
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { inspect } from "node:util";

/** How long a token is good for, in seconds; the gateway takes at most 300. */
export const TOKEN_S = 240;

const b64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

/** A bot's private key. Never printed: it shows its thumbprint. */
export class BotKey {
  #private;

  constructor(privateKey) {
    if (privateKey.asymmetricKeyType !== "ed25519") throw new TypeError("the key is not an Ed25519 key");
    this.#private = privateKey;
    const { x } = createPublicKey(privateKey).export({ format: "jwk" });
    this.jwk = { crv: "Ed25519", kty: "OKP", x };
    // RFC 7638: SHA-256 of the required members in order.
    this.thumbprint = createHash("sha256").update(JSON.stringify(this.jwk)).digest("base64url");
  }

  static generate() {
    return new BotKey(generateKeyPairSync("ed25519").privateKey);
  }

  static load(text) {
    const key = String(text).trim();
    return new BotKey(key.startsWith("{") ? createPrivateKey({ key: JSON.parse(key), format: "jwk" }) : createPrivateKey(key));
  }

  static read(path) {
    return BotKey.load(readFileSync(path, "utf8"));
  }

  pem() {
    return this.#private.export({ type: "pkcs8", format: "pem" });
  }

  token(botId, audience, nowS) {
    const name = `bot:${botId}`;
    const head = { alg: "EdDSA", kid: this.thumbprint, typ: "bot+jwt" };
    const claims = { aud: audience, exp: nowS + TOKEN_S, iat: nowS, iss: name, jti: randomBytes(16).toString("hex"), sub: name };
    const signed = `${b64(head)}.${b64(claims)}`;
    return `${signed}.${sign(null, Buffer.from(signed), this.#private).toString("base64url")}`;
  }

  [inspect.custom]() {
    return `BotKey(${this.thumbprint})`;
  }
}
