// IndexedDB: what must survive a restart.  Nothing personal but the sealed readings.
//   outbox    {id, municipality, sealed, at, staff, terminal, problem?}   until a 2xx
//   receipts  {id, receipt_id, outcome, at, staff, day}                  of today, without the coupon
//   settings  {name, value}
//   filters   a shard of the coupon filter as it came, until it ends: {shard, …}  (filter.js)

const NAME = "vrs-tablet";
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const rq = indexedDB.open(NAME, 2);
    rq.onupgradeneeded = () => {
      const stores = { outbox: "id", receipts: "id", settings: "name", filters: "shard" };
      for (const [name, keyPath] of Object.entries(stores))
        if (!rq.result.objectStoreNames.contains(name)) rq.result.createObjectStore(name, { keyPath });
    };
    rq.onsuccess = () => {
      // Another tab with a newer form of the store: let it go on, ours is told to reload.
      rq.result.onversionchange = () => rq.result.close();
      resolve(rq.result);
    };
    rq.onerror = () => reject(rq.error);
  });
  return opened;
}

/** Resolves when the transaction is on disk, not before. */
async function write(store, act) {
  const db = await open();
  return new Promise((resolve, reject) => {
    const t = db.transaction(store, "readwrite", { durability: "strict" });
    act(t.objectStore(store));
    t.oncomplete = () => resolve();
    t.onabort = () => reject(t.error);
  });
}

export const put = (store, row) => write(store, s => s.put(row));
export const remove = (store, key) => write(store, s => s.delete(key));
export const clear = store => write(store, s => s.clear());

export async function all(store) {
  const db = await open();
  return new Promise((resolve, reject) => {
    const rq = db.transaction(store).objectStore(store).getAll();
    rq.onsuccess = () => resolve(rq.result);
    rq.onerror = () => reject(rq.error);
  });
}

export const setting = async name => (await all("settings")).find(s => s.name === name)?.value ?? null;
export const setSetting = (name, value) => put("settings", { name, value });
