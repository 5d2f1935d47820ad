// npm's dynamics-web-api: quotes of 50 opportunities in one read, then one atomic batch for each opportunity, 16 at once.
"use strict";
const fs = require("fs");
const { DynamicsWebApi } = require("dynamics-web-api");
const wanted = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const url = wanted.environment.DATAVERSE_URL;
const make = () => new DynamicsWebApi({serverUrl: url, dataApi: {version: "9.2"}, onTokenRefresh: async () => wanted.token});

async function quotesOf(api, keys) {
  const listed = keys.map((key) => `'${key}'`).join(",");
  const filter = `Microsoft.Dynamics.CRM.In(PropertyName='opportunityid',PropertyValues=[${listed}]) and statecode lt 2`;
  const answer = await api.retrieveMultiple({collection: "quotes", select: ["_opportunityid_value"], filter});
  const found = new Map(keys.map((key) => [key, []]));
  for (const quote of answer.value) found.get(quote._opportunityid_value).push(quote.quoteid);
  return found;
}

async function closeOne(api, key, quotes) {
  api.startBatch();
  for (const quote of quotes) api.callAction({actionName: "CloseQuote",
    action: {QuoteClose: {"quoteid@odata.bind": `/quotes(${quote})`, subject: "Closed"}, Status: 5}});
  api.callAction({actionName: "LoseOpportunity",
    action: {OpportunityClose: {"opportunityid@odata.bind": `/opportunities(${key})`, subject: "Lost"}, Status: 4}});
  await api.executeBatch();
}

async function closeAll(keys) {
  const queue = [];
  const apis = Array.from({length: 16}, make);
  for (let start = 0; start < keys.length; start += 50) {
    for (const entry of await quotesOf(apis[0], keys.slice(start, start + 50))) queue.push(entry);
  }
  await Promise.all(apis.map(async (api) => { while (queue.length) await closeOne(api, ...queue.shift()); }));
  return keys.length;
}

function peakMb() {  // of this program alone: resourceUsage() would count the process it was started from, too
  return Number(/VmHWM:\s+(\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]) / 1024;
}

async function readAll(api) {
  const answer = await api.retrieveAll({collection: "opportunities", select: ["name", "statecode", "statuscode"],
    maxPageSize: wanted.page});
  return answer.value.length;
}

// Tries each opportunity once and notes those that were closed, by its own account, in the file `told`.
async function attempt(keys) {
  const queue = [];
  const apis = Array.from({length: 16}, make);
  for (let start = 0; start < keys.length; start += 50) {
    try { queue.push(...await quotesOf(apis[0], keys.slice(start, start + 50))); } catch { /* these rows failed */ }
  }
  await Promise.all(apis.map(async (api) => {
    while (queue.length) {
      const [key, quotes] = queue.shift();
      try { await closeOne(api, key, quotes); fs.appendFileSync(wanted.told, `${key}\n`); } catch { /* this row failed */ }
    }
  }));
}

(async () => {
  if (wanted.what === "attempt") { await attempt(wanted.opportunities); return; }
  await make().callFunction({name: "WhoAmI"});
  const cpu = process.cpuUsage(), began = process.hrtime.bigint();
  const rows = wanted.what === "close" ? await closeAll(wanted.opportunities) : await readAll(make());
  const spent = process.cpuUsage(cpu);
  console.log(JSON.stringify({rows, cpu: (spent.user + spent.system) / 1e6,
    seconds: Number(process.hrtime.bigint() - began) / 1e9, peak_mb: peakMb()}));
})().catch((error) => { console.error(error); process.exit(1); });
