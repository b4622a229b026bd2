// What the product replaces, as a yardstick: Express and Mongoose, doing the same database command for a balance.
import crypto from "node:crypto";
import express from "express";
import mongoose from "mongoose";

const { MONGODB_URI, MONGODB_DATABASE } = process.env;
await mongoose.connect(MONGODB_URI, { dbName: MONGODB_DATABASE, maxPoolSize: 16, readConcernLevel: "majority" });
const loose = { strict: false, versionKey: false };
const Key = mongoose.model("Key", new mongoose.Schema({ _id: String }, { ...loose, collection: "api_keys" }));
const Wallet = mongoose.model("Wallet", new mongoose.Schema({ _id: String }, { ...loose, collection: "wallets" }));
const FORM = /^Bearer gsk_(live|test)_([0-9A-HJKMNP-TV-Z]{26})_([0-9a-f]{64})$/;
const keys = new Map();

const units = (value) => (value ? BigInt(value.toString()) : 0n);
const whole = (value) => {
  const digits = value.toString().padStart(19, "0");
  return `${digits.slice(0, -18)}.${digits.slice(-18)}`.replace(/\.?0+$/, "");
};

async function authenticate(request, response, next) {
  const match = FORM.exec(request.headers.authorization ?? "");
  if (!match) return response.status(401).json({ status: "error", error: { code: "unauthenticated" } });
  const id = `key_${match[2]}`;
  if (!keys.has(id)) keys.set(id, await Key.findById(id).lean());
  const digest = crypto.createHash("sha256").update(match[3]).digest("hex");
  const known = keys.get(id)?.secret_sha256 ?? "0".repeat(64);
  if (!crypto.timingSafeEqual(Buffer.from(known), Buffer.from(digest)))
    return response.status(401).json({ status: "error", error: { code: "unauthenticated" } });
  request.client = keys.get(id).client_id;
  return next();
}

const app = express();
app.get("/v1/wallets/balance", authenticate, async (request, response) => {
  const id = request.query.wallet_id;
  if (typeof id !== "string" || !/^wlt_[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id))
    return response.status(400).json({ status: "error", error: { code: "invalid_request" } });
  const [wallet] = await Wallet.aggregate([
    { $match: { _id: id } },
    { $lookup: { from: "accounts", localField: "_id", foreignField: "_id", as: "account" } },
    { $lookup: { from: "transactions", localField: "_id", foreignField: "incoming_wallet_id", as: "incoming" } },
  ]);
  if (!wallet?.links.some((link) => link.client_id === request.client))
    return response.status(404).json({ status: "error", error: { code: "not_found" } });
  const [account] = wallet.account;
  const pending = wallet.incoming.reduce((sum, row) => sum + units(row.amount), 0n);
  const balance = { wallet_id: id, posted: whole(units(account?.posted)), available: whole(units(account?.available)) };
  console.log(JSON.stringify({ at: new Date().toISOString(), route: request.path, status: 200 }));
  return response.json({ status: "success", data: { ...balance, incoming: whole(pending) }, message: "balance" });
});
const server = app.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
