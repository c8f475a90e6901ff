/** Ids of records: UUIDv7, made by the client so that a retry is safe. */
let lastMillisecond = 0;
let counter = 0n;

/** A new UUIDv7, above every one that this page or process made before. */
export function newId(now: number = Date.now()): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  const tail = random.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
  if (now > lastMillisecond) {
    lastMillisecond = now;
    counter = (tail >> 32n) & ((1n << 41n) - 1n); // the top bit of 42 stays clear, so that it has room to grow
  } else {
    counter += 1n;
    if (counter >> 42n) {
      lastMillisecond += 1;
      counter = 0n;
    }
  }
  const bits =
    (BigInt(lastMillisecond) << 80n) |
    (7n << 76n) |
    ((counter >> 30n) << 64n) |
    (2n << 62n) |
    ((counter & ((1n << 30n) - 1n)) << 32n) |
    (tail & 0xffffffffn);
  const text = bits.toString(16).padStart(32, "0");
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
