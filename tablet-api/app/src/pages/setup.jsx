// Product, lot, date and site, once for the sitting.
import { useState } from "preact/hooks";
import * as db from "../db.js";
import { Field } from "../parts.jsx";
import { loadApp } from "../session.js";
import { change, day, japanese, state, useApp } from "../state.js";
import { foldLot, lotFits, makersOf, shownOf } from "../vaccine.js";

const today = () => day(Date.now() - state.clock);

/** What is doubtful about the choice, in words; each must be confirmed. */
function doubts(products, f) {
  const product = products.find(p => p.id === f.product);
  const found = [];
  if (f.lot && !lotFits(product, f.lot)) {
    const makers = makersOf(products, f.lot);
    found.push(`ロット番号「${foldLot(f.lot)}」は${product.maker_ja}のものと形が違います。` +
      (makers.length ? `${makers.join("・")}のロット番号に似ています。` : "") + "箱とバイアルを確かめてください。");
  }
  if (f.expires && f.expires < f.vaccinated_on) found.push(`このロットの有効期限（${japanese(f.expires)}）は接種日より前です。使えるか確かめてください。`);
  if (f.vaccinated_on < today()) found.push(`接種日（${japanese(f.vaccinated_on)}）は今日ではありません。過去の分の登録ですか。`);
  return found;
}

export function Setup() {
  const s = useApp();
  // Only what was typed is kept: products and site may come after the page does.
  const [typed, setTyped] = useState(s.sitting ?? {});
  const f = { lot: "", expires: "", vaccinated_on: today(), site: s.app?.site ?? "", physician: "", pre_shot: false, ...typed,
    product: shownOf(s.vaccines, typed.product)?.id ?? "" };
  const [sure, setSure] = useState(false);
  const [problems, setProblems] = useState({});
  const set = name => e => {
    const { value } = e.target;
    setTyped(t => ({ ...t, [name]: value }));
    setProblems(p => ({ ...p, [name]: undefined, sure: undefined }));
    setSure(false);
  };
  const found = f.product ? doubts(s.vaccines, f) : [];
  async function submit(e) {
    e.preventDefault();
    const wrong = {};
    if (!f.product) wrong.product = "ワクチンの一覧をまだ受け取っていません。";
    if (!foldLot(f.lot)) wrong.lot = "ロット番号を入力してください。";
    if (!f.expires) wrong.expires = "箱に印字された有効期限を入力してください。";
    if (!f.site.trim()) wrong.site = "会場名を入力してください。";
    if (!f.vaccinated_on) wrong.vaccinated_on = "接種日を入力してください。";
    else if (f.vaccinated_on > today()) wrong.vaccinated_on = "未来の日付です。";
    if (found.length && !sure) wrong.sure = "内容を確かめ、チェックを入れてください。";
    setProblems(wrong);
    if (Object.keys(wrong).length) {
      document.getElementById(Object.keys(wrong)[0])?.focus();
      return;
    }
    const sitting = { ...f, lot: foldLot(f.lot), site: f.site.trim(), physician: f.physician.trim(), chosen: day() };
    await db.setSetting("sitting", sitting);
    change({ sitting, page: "read" });
  }
  const input = (id, label, more = {}) => (
    <Field id={id} label={label} help={more.help} problem={problems[id]}>
      <input id={id} value={f[id]} onInput={set(id)} aria-invalid={problems[id] ? "true" : undefined}
        aria-describedby={`${more.help ? id + "-help " : ""}${id}-problem`} type={more.type ?? "text"} autocomplete="off" max={more.max} />
    </Field>
  );
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>ワクチンと会場</h1>
      <p>ここで選んだ内容が、このあと読み取るすべての接種券に使われます。</p>
      <form onSubmit={submit} noValidate>
        {s.vaccines.length === 0 && (
          <p class="notice amber" role="status">ワクチンの一覧をまだ受け取っていません。
            <button type="button" onClick={loadApp}>もう一度受け取る</button></p>
        )}
        <Field id="product" label="ワクチン" problem={problems.product}>
          <select id="product" value={f.product} onChange={set("product")} aria-invalid={problems.product ? "true" : undefined} aria-describedby="product-problem">
            {s.vaccines.map(p => <option key={p.id} value={p.id}>{p.maker_ja}　{p.name_ja}</option>)}
          </select>
        </Field>
        {input("lot", "ロット番号", { help: "箱のロット番号（例 FF3620）。小文字・全角でも構いません。" })}
        {input("expires", "ロットの有効期限", { type: "date" })}
        {input("vaccinated_on", "接種日", { type: "date", max: today() })}
        {input("site", "会場名")}
        {input("physician", "医師名（任意）")}
        <label class="check"><input id="pre_shot" type="checkbox" checked={f.pre_shot} onChange={e => { const { checked } = e.target; setTyped(t => ({ ...t, pre_shot: checked })); }} />
          接種前の確認（これまでの回数と、次の接種ができる日）も使う</label>
        {found.length > 0 && (
          <div class="notice amber" role="alert">
            <ul>{found.map(d => <li key={d}>{d}</li>)}</ul>
            <label class="check"><input id="sure" type="checkbox" checked={sure} onChange={e => setSure(e.target.checked)} />
              確かめました。この内容で使います</label>
            <p class="problem">{problems.sure}</p>
          </div>
        )}
        <button class="main">この内容で読み取りを始める</button>
      </form>
    </section>
  );
}
