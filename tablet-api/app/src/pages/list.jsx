// What was read today: waiting, refused, the last ten with undo, the count to compare with paper.
import { useState } from "preact/hooks";
import { asksAgain, cancel, confirmAgain, correct, dismiss, doseOf, isOwn, numberOf } from "../outbox.js";
import { problemOf, typed } from "../coupon.js";
import { Mark } from "../parts.jsx";
import { change, time, useApp } from "../state.js";
import { Export, Import } from "./handover.jsx";

export function List() {
  const s = useApp();
  const own = s.done.filter(isOwn);
  const counted = own.filter(d => d.outcome !== "cancelled");
  const waiting = s.waiting.filter(w => isOwn(w) && !w.after);
  return (
    <section>
      <h1 tabIndex={-1}>記録と枚数</h1>
      <h2>今日の枚数（枚数照合）</h2>
      <p>回収した接種券の枚数と、下の合計が同じか確かめてください。</p>
      <dl class="counts">
        <div><dt>受け付け済み</dt><dd>{counted.length} 枚</dd></div>
        <div><dt>未送信</dt><dd>{waiting.length} 枚</dd></div>
        <div class="sum"><dt>合計</dt><dd>{counted.length + waiting.length} 枚</dd></div>
        <div><dt>要対応（合計に含みません）</dt><dd>{s.attention.length} 枚</dd></div>
        <div><dt>取り消し</dt><dd>{own.length - counted.length} 枚</dd></div>
      </dl>
      {s.attention.length > 0 && <><h2>要対応</h2>{s.attention.map(a => <Attention key={a.id} row={a} />)}</>}
      {s.waiting.length > 0 && (
        <>
          <h2>未送信</h2>
          <p>つながると自動で送ります。この端末の電源は切っても構いません。</p>
          <ul class="rows">{s.waiting.map(w => <li key={w.id}>{time(w.at)}　{numberOf(w) || "番号は封印済み"}　読み取り: {w.staff || "—"}{!isOwn(w) && `（端末 ${w.terminal}）`}{w.after && "（訂正）"}</li>)}</ul>
        </>
      )}
      {s.session === "open" && <button onClick={() => change({ page: "mend" })}>ロットをまとめて訂正する</button>}
      <h2>直近の10件</h2>
      {s.done.length === 0 && <p>まだありません。</p>}
      <ul class="rows">{s.done.slice(0, 10).map(d => <Done key={d.id} row={d} />)}</ul>
      <h2>別の端末とのやりとり</h2>
      {s.waiting.length + s.attention.length > 0 && <Export />}
      <Import />
    </section>
  );
}

function Done({ row }) {
  const s = useApp();
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  async function yes() {
    setBusy(true);
    const why = await cancel(row, "会場での取り消し（読み取り直後）");
    setBusy(false);
    setProblem(why);
    if (!why) setAsking(false);
  }
  const name = numberOf(row) || "番号はこの端末に残していません";
  return (
    <li class="done">
      <p>{time(row.at)}　<span class="digits">{name}</span>　読み取り: {row.staff || "—"}</p>
      <p><Mark row={row} /></p>
      {row.outcome !== "cancelled" && row.warnings?.map(w => <p class="help" key={w.code}>{w.detail}</p>)}
      {s.session === "open" && row.outcome !== "cancelled" && !asking && <button onClick={() => setAsking(true)} aria-label={`${time(row.at)}の記録を取り消す`}>取り消す</button>}
      {asking && (
        <div class="card amber">
          <p>この記録を取り消しますか。自治体の記録からも取り消されます。</p>
          <div class="buttons"><button class="main" onClick={yes} disabled={busy}>取り消す</button><button onClick={() => setAsking(false)}>やめる</button></div>
          <p class="problem" role="alert">{problem}</p>
        </div>
      )}
    </li>
  );
}

function Attention({ row }) {
  const s = useApp();
  const dose = doseOf(row.id);
  const [value, setValue] = useState(dose?.ocr_line ?? "");
  const [problem, setProblem] = useState(null);
  const [sure, setSure] = useState(false);
  const [asked, setAsked] = useState(null); // digits that were read moments ago: the second press means it
  function again(text) {
    const { digits } = typed(text);
    const twice = asked !== digits && asksAgain(digits);
    const why = problemOf(digits) ?? (twice ? "同じ番号を少し前に読み取っています。別に登録済みなら取り下げてください。もう一度押すと登録します。" : null);
    setAsked(twice ? digits : asked);
    setProblem(why);
    if (!why) correct(row, digits, asked === digits);
  }
  return (
    <div class="card red">
      <p>{time(row.at)}　<span class="digits">{numberOf(row) || "番号は封印済み"}</span>　読み取り: {row.staff || "—"}</p>
      <p class="problem">{row.problem.detail}{/^[A-Z]\d+$/.test(row.problem.code) && `（${row.problem.code}）`}</p>
      {s.session !== "open" && <p>直したり取り下げたりするには、ログインしてください。</p>}
      {s.session === "open" && (
        <>
          {row.problem.code === "same_coupon_again" && <button onClick={() => confirmAgain(row)}>同じ券で間違いないので登録する</button>}
          {row.problem.candidates?.map(c => <button key={c.ocr_line} onClick={() => again(c.ocr_line)}>{c.ocr_line} で登録する</button>)}
          {dose && (
            <form class="row" onSubmit={e => { e.preventDefault(); again(value); }}>
              <label for={`fix-${row.id}`}>正しい番号</label>
              <input id={`fix-${row.id}`} value={value} onInput={e => setValue(e.target.value)} inputMode="numeric" />
              <button>直して登録する</button>
            </form>
          )}
          <p class="problem" role="alert">{problem}</p>
          {!sure && <button onClick={() => setSure(true)}>この記録を取り下げる</button>}
          {sure && (
            <p>紙の接種券を見て別に登録した場合だけ取り下げてください。
              <button onClick={() => dismiss(row.id)}>取り下げる</button> <button onClick={() => setSure(false)}>やめる</button></p>
          )}
        </>
      )}
    </div>
  );
}
