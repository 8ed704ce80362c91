// A lot that was wrong all morning: today's records of this tablet, previewed, mended in one act.
import { useState } from "preact/hooks";
import { doseOf, isOwn, mend, numberOf } from "../outbox.js";
import { Field } from "../parts.jsx";
import { change, time, useApp } from "../state.js";
import { foldLot, lotFits, shownOf } from "../vaccine.js";

export function Mend() {
  const s = useApp();
  const rows = s.done.filter(d => d.outcome !== "cancelled" && isOwn(d) && doseOf(d.id)?.status === "given");
  const sealed = s.done.filter(d => d.outcome !== "cancelled" && isOwn(d) && !doseOf(d.id)).length;
  const lots = [...new Set(rows.map(r => doseOf(r.id).lot))];
  const [lot, setLot] = useState(lots[0] ?? "");
  const [to, setTo] = useState({ product: s.sitting?.product ?? "", lot: s.sitting?.lot ?? "" });
  const [preview, setPreview] = useState(false);
  const [problem, setProblem] = useState(null);
  const [done, setDone] = useState(0);
  const chosen = rows.filter(r => doseOf(r.id).lot === lot);
  const product = shownOf(s.vaccines, to.product);
  function look(e) {
    e.preventDefault();
    const why = !product ? "ワクチンの一覧をまだ受け取っていません。" : !foldLot(to.lot) ? "正しいロット番号を入力してください。"
      : foldLot(to.lot) === lot && chosen.every(r => doseOf(r.id).product === product.id) ? "訂正後の内容が今と同じです。" : null;
    setProblem(why);
    setPreview(!why);
  }
  async function act() {
    setPreview(false);
    setDone(chosen.length);
    await mend(chosen, { product: product.id, lot: foldLot(to.lot) });
  }
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>ロットの訂正</h1>
      <p>今日この端末で登録した記録を、正しいワクチンとロットでまとめて登録し直します。元の記録は取り消されます。</p>
      {sealed > 0 && <p class="notice amber">再起動の前に読み取った {sealed} 件は、番号を端末に残していないため、ここでは直せません。自治体に訂正を依頼してください。</p>}
      {done > 0 && <p class="notice blue" role="status">{done}件の訂正を始めました。残り {s.waiting.filter(w => w.after).length} 件。途中で通信が切れても続きから行います。</p>}
      {rows.length === 0 && <p>訂正できる記録はありません。</p>}
      {rows.length > 0 && (
        <form onSubmit={look}>
          <Field id="from" label="間違っていたロット">
            <select id="from" value={lot} onChange={e => { setLot(e.target.value); setPreview(false); }}>
              {lots.map(l => <option key={l} value={l}>{l}（{rows.filter(r => doseOf(r.id).lot === l).length}件）</option>)}
            </select>
          </Field>
          <Field id="to-product" label="正しいワクチン">
            <select id="to-product" value={product?.id ?? ""} onChange={e => { setTo({ ...to, product: e.target.value }); setPreview(false); }}>
              {s.vaccines.map(p => <option key={p.id} value={p.id}>{p.maker_ja}　{p.name_ja}</option>)}
            </select>
          </Field>
          <Field id="to-lot" label="正しいロット番号" problem={problem}>
            <input id="to-lot" value={to.lot} onInput={e => { setTo({ ...to, lot: e.target.value }); setPreview(false); }} autocomplete="off" />
          </Field>
          <button>訂正の内容を確かめる</button>
        </form>
      )}
      {preview && (
        <div class="card amber">
          <h2>{chosen.length}件を訂正します</h2>
          <p>{lot} → <b>{product?.maker_ja} {foldLot(to.lot)}</b></p>
          {!lotFits(product, to.lot) && <p class="warn">ロット番号が{product?.maker_ja}のものと形が違います。</p>}
          <ul class="rows">{chosen.map(r => <li key={r.id}>{time(r.at)}　<span class="digits">{numberOf(r)}</span></li>)}</ul>
          <div class="buttons">
            <button class="main" id="mend" onClick={act}>{chosen.length}件を訂正する</button>
            <button onClick={() => setPreview(false)}>やめる</button>
          </div>
        </div>
      )}
      <button class="quiet" onClick={() => change({ page: "list" })}>記録と枚数に戻る</button>
    </section>
  );
}
