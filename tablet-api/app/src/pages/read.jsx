// Coupon after coupon: camera, scanner or keyboard; confirm; next.
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../api.js";
import { tone } from "../camera.js";
import { dashed, isNotGiven } from "../coupon.js";
import { offlineWords } from "../filter-load.js";
import { add, asksAgain, isOwn, note, stopped } from "../outbox.js";
import { Digits, Mark } from "../parts.jsx";
import { japanese, state, useApp } from "../state.js";
import { Clash, Manual, Picture, ignoreScanner, useCamera } from "./reader.jsx";

export function Read() {
  const s = useApp();
  const [read, setRead] = useState(null); // {digits, by, again, warnings, candidates?}: to be confirmed
  const [last, setLast] = useState(null); // id of the reading kept last
  const [unkept, setUnkept] = useState(null); // digits that this tablet could not keep
  const field = useRef(null), now = useRef(null);
  const { video, camera, problem, clash } = useCamera(accept);

  function accept(digits, by, doubts) {
    if (now.current) return;
    now.current = digits;
    tone(true);
    camera.current?.pause?.();
    setLast(null);
    setUnkept(null);
    ask(digits, by, doubts);
  }

  function ask(digits, by, doubts) {
    setRead({ digits, by, again: asksAgain(digits), warnings: [] });
    warn(digits, doubts).then(words => {
      if (now.current === digits) setRead(r => r && { ...r, ...words });
    });
  }

  /** A person says: it is this one that was read wrongly. */
  function pick(digits) {
    now.current = digits;
    camera.current?.take?.(digits);
    ask(digits, "manual");
  }

  // The number is gone from the page before anything else happens.
  function clear() {
    now.current = null;
    setRead(null);
    camera.current?.resume?.();
    field.current?.focus();
  }

  async function confirm() {
    if (!read || now.current !== read.digits) return; // a second tap finds nothing
    const { digits, by, again } = read;
    clear();
    try {
      setLast((await add(digits, by, again)).id);
    } catch {
      tone(false);
      setUnkept(digits);
    }
  }

  useEffect(() => field.current?.focus(), []);

  const done = s.done.find(d => d.id === last);
  const waits = s.waiting.find(d => d.id === last);
  const refused = s.attention.find(d => d.id === last);
  return (
    <section class="read">
      <h1 tabIndex={-1}>接種券の読み取り</h1>
      <Sitting />
      <div class="columns">
        <Picture video={video} problem={problem} />
        <div class="result" aria-live="assertive">
          {read && <Confirm read={read} onYes={confirm} onNo={clear} onPick={pick} />}
          {!read && unkept && (
            <div class="card red" role="alert">
              <h2>この端末に保管できませんでした</h2>
              <p><Digits digits={unkept} big /></p>
              <p>この接種券はまだ登録されていません。もう一度読み取ってください。続くときは紙に控え、別の端末で登録してください。</p>
            </div>
          )}
          {!read && clash && <Clash numbers={clash} done="登録していません。" />}
          {!read && !clash && done && <div class="card"><h2>直前の記録</h2><p><Mark row={done} /></p></div>}
          {!read && !clash && waits && <div class="card amber"><h2>直前の記録</h2><p>この端末に保管しました。送信を待っています。</p></div>}
          {!read && !clash && refused && <div class="card red"><h2>直前の記録は受け付けられませんでした</h2><p>{refused.problem.detail}</p><p>「記録と枚数」の要対応から直せます。</p></div>}
          {!read && !clash && !last && !unkept && <div class="card"><p>{problem ? "番号を入力するか、スキャナーで読み取ってください。" : "接種券の18桁の数字、またはQRコードを枠に入れてください。"}</p></div>}
        </div>
      </div>
      <Manual inputRef={field} onRead={(digits, by) => {
        camera.current?.take?.(digits);
        accept(digits, by);
      }} off={!!read} />
      <p class="count">今日 この端末で読み取った枚数 <b id="count">{s.done.filter(d => isOwn(d) && d.outcome !== "cancelled").length + s.waiting.filter(w => isOwn(w) && !w.after).length}</b> 枚</p>
    </section>
  );
}

function Sitting() {
  const { sitting, vaccines } = useApp();
  const product = vaccines.find(p => p.id === sitting?.product);
  if (!sitting) return null;
  return (
    <dl class="sitting">
      <div><dt>ワクチン</dt><dd>{product ? `${product.maker_ja} ${product.name_ja}` : sitting.product}</dd></div>
      <div><dt>ロット</dt><dd>{sitting.lot}</dd></div>
      <div><dt>接種日</dt><dd>{japanese(sitting.vaccinated_on)}</dd></div>
      <div><dt>会場</dt><dd>{sitting.site}</dd></div>
    </dl>
  );
}

function Confirm({ read, onYes, onNo, onPick }) {
  const yes = useRef(null), no = useRef(null);
  const doubtful = read.again || read.warnings.length > 0;
  const [next, setNext] = useState(false); // a scanner typed the next one
  useEffect(() => { (doubtful ? no : yes).current?.focus(); }, [read.digits, doubtful]); // Enter alone is the safe answer
  useEffect(() => ignoreScanner(() => {
    tone(false);
    setNext(true);
  }), []);
  const other = state.app?.municipality_code && read.digits.slice(2, 8) !== state.app.municipality_code;
  return (
    <div class={doubtful ? "card amber" : "card ask"}>
      <h2>{isNotGiven(read.digits) ? "予診のみ（接種なし）として登録しますか" : `${read.digits[1]}回目の接種として登録しますか`}</h2>
      <p><Digits digits={read.digits} big /></p>
      <p>券面の番号と同じか確かめてください。{other && "この会場とは別の自治体の接種券です。"}</p>
      {read.again && <p class="warn"><b>同じ番号を少し前に読み取っています。</b>同じ券をもう一度かざしていませんか。</p>}
      {read.warnings.map(w => <p class="warn" key={w}>{w}</p>)}
      {read.note && <p class="help">{read.note}</p>}
      {read.candidates?.length > 0 && (
        <div class="warn">
          <p>登録のある似た番号です。券面と同じものがあれば選んでください。</p>
          <p class="buttons">{read.candidates.map(c => <button key={c} class="digits" onClick={() => onPick(c)}>{dashed(c)}</button>)}</p>
        </div>
      )}
      {next && <p class="problem" role="alert">先にこの接種券の「登録する」か「登録しない」を選び、次の接種券はもう一度読み取ってください。</p>}
      <div class="buttons">
        <button class="main" id="yes" ref={yes} onClick={onYes}>{doubtful ? "それでも登録する" : "登録する"}</button>
        <button id="no" ref={no} onClick={onNo}>登録しない</button>
      </div>
    </div>
  );
}

const CHECKED = {
  unknown: "この接種券はまだ自治体に登録されていません。番号を確かめてください。登録すると「接種券の登録待ち」になります。",
  candidates: "この接種券は自治体に登録されていません。読み違いかもしれません。番号を確かめてください。",
  dose_already_recorded: "この回の接種は既に記録されています。回数と番号を確かめてください。",
  moved_out: "この接種券の方は転出しています。今お住まいの自治体の接種券か確かめてください。",
};

/** What the inside knows about this coupon and this dose; without it, what the filter on this tablet can
 * tell.  `doubts`: of the reader, for the search of what it may have misread.
 * → {warnings, candidates?, note?} */
async function warn(digits, doubts) {
  if (state.session !== "open" || !state.online) return offlineWords(digits);
  const { product, vaccinated_on } = state.sitting;
  const dose = isNotGiven(digits) ? {} : { product, vaccinated_on };
  const r = await call("POST", "/v1/coupons:check", { ocr_line: digits, ...doubts, ...dose });
  note(r);
  if (!r.ok) {
    stopped(r);
    return r.away ? offlineWords(digits) : { warnings: [] };
  }
  const { status, candidates = [], earliest_on } = r.json;
  const warnings = CHECKED[status] ? [CHECKED[status]] : [];
  if (earliest_on)
    warnings.push(`前回の接種から間隔が足りません。このワクチンの${digits[1]}回目は${japanese(earliest_on)}以降です。接種日、回数、ワクチンを確かめてください。`);
  return { warnings, candidates: candidates.map(c => c.ocr_line).filter(c => c !== digits) };
}
