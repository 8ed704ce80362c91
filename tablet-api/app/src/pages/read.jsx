// Coupon after coupon: camera, scanner or keyboard; confirm; next.
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../api.js";
import { openCamera, tone } from "../camera.js";
import { isNotGiven, liveProblem, problemOf, typed } from "../coupon.js";
import { offlineWords } from "../filter-load.js";
import { add, asksAgain, isOwn, note, stopped } from "../outbox.js";
import { Digits, Mark } from "../parts.jsx";
import { state, useApp } from "../state.js";

const SCANNER_MS = 35; // a scanner types faster than this a character

export function Read() {
  const s = useApp();
  const [read, setRead] = useState(null); // {digits, by, warnings, again}: to be confirmed
  const [clash, setClash] = useState(null);
  const [problem, setProblem] = useState(null); // why there is no camera
  const [last, setLast] = useState(null); // id of the reading kept last
  const [unkept, setUnkept] = useState(null); // digits that this tablet could not keep
  const video = useRef(null), camera = useRef(null), field = useRef(null), now = useRef(null);

  function accept(digits, by) {
    if (now.current) return;
    now.current = digits;
    tone(true);
    camera.current?.pause?.();
    setClash(null);
    setLast(null);
    setUnkept(null);
    setRead({ digits, by, again: asksAgain(digits), warnings: [] });
    warn(digits).then(words => {
      if (now.current === digits) setRead(r => r && { ...r, ...words });
    });
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

  useEffect(() => {
    let gone = false;
    openCamera(video.current, {
      accept, look() {},
      clash: numbers => setClash(was => {
        if (numbers && !was) tone(false);
        return numbers;
      }),
    }).then(c => {
      if (gone) c.stop?.();
      else if (c.problem) setProblem(c.problem);
      else camera.current = c;
    });
    field.current?.focus();
    return () => {
      gone = true;
      camera.current?.stop?.();
    };
  }, []);

  const done = s.done.find(d => d.id === last);
  const waits = s.waiting.find(d => d.id === last);
  const refused = s.attention.find(d => d.id === last);
  return (
    <section class="read">
      <h1 tabIndex={-1}>接種券の読み取り</h1>
      <Sitting />
      <div class="columns">
        <div class={`camera${problem ? " off" : ""}`}>
          <video ref={video} muted playsInline aria-label="カメラの映像。接種券の18桁かQRコードを枠に入れてください" />
          {!problem && <div class="frame" aria-hidden="true" />}
          {problem && <p class="notice amber" role="alert">{problem}</p>}
        </div>
        <div class="result" aria-live="assertive">
          {read && <Confirm read={read} onYes={confirm} onNo={clear} />}
          {!read && unkept && (
            <div class="card red" role="alert">
              <h2>この端末に保管できませんでした</h2>
              <p><Digits digits={unkept} big /></p>
              <p>この接種券はまだ登録されていません。もう一度読み取ってください。続くときは紙に控え、別の端末で登録してください。</p>
            </div>
          )}
          {!read && clash && (
            <div class="card amber">
              <h2>読み取りが一致しません</h2>
              <p>同じ接種券が違う番号に読めました。登録していません。</p>
              <ul>{clash.map(d => <li key={d}><Digits digits={d} /></li>)}</ul>
              <p>接種券を一度外し、もう一度かざすか、券面を見て手入力してください。</p>
            </div>
          )}
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
      <div><dt>接種日</dt><dd>{sitting.vaccinated_on}</dd></div>
      <div><dt>会場</dt><dd>{sitting.site}</dd></div>
    </dl>
  );
}

function Confirm({ read, onYes, onNo }) {
  const yes = useRef(null);
  useEffect(() => { (read.again ? document.getElementById("no") : yes.current)?.focus(); }, [read.digits]);
  const other = state.app?.municipality_code && read.digits.slice(2, 8) !== state.app.municipality_code;
  return (
    <div class={read.again || read.warnings.length ? "card amber" : "card ask"}>
      <h2>{isNotGiven(read.digits) ? "予診のみ（接種なし）として登録しますか" : `${read.digits[1]}回目の接種として登録しますか`}</h2>
      <p><Digits digits={read.digits} big /></p>
      <p>券面の番号と同じか確かめてください。{other && "この会場とは別の自治体の接種券です。"}</p>
      {read.again && <p class="warn"><b>同じ番号を少し前に読み取っています。</b>同じ券をもう一度かざしていませんか。</p>}
      {read.warnings.map(w => <p class="warn" key={w}>{w}</p>)}
      {read.note && <p class="help">{read.note}</p>}
      <div class="buttons">
        <button class="main" id="yes" ref={yes} onClick={onYes}>{read.again ? "それでも登録する" : "登録する"}</button>
        <button id="no" onClick={onNo}>登録しない</button>
      </div>
    </div>
  );
}

const CHECKED = {
  unknown: "この接種券はまだ自治体に登録されていません。番号を確かめてください。登録すると「接種券の登録待ち」になります。",
  dose_already_recorded: "この回の接種は既に記録されています。回数と番号を確かめてください。",
  moved_out: "この接種券の方は転出しています。今お住まいの自治体の接種券か確かめてください。",
};

/** What the inside knows about this coupon; without it, what the filter on this tablet can tell.
 * → {warnings, note?} */
async function warn(digits) {
  if (state.session !== "open" || !state.online) return offlineWords(digits);
  const r = await call("POST", "/v1/coupons:check", { ocr_line: digits });
  note(r);
  if (!r.ok) {
    stopped(r);
    return r.away ? offlineWords(digits) : { warnings: [] };
  }
  const words = CHECKED[r.json.status] ? [CHECKED[r.json.status]] : [];
  return { warnings: [...words, ...(r.json.warnings ?? []).map(w => w.detail)] };
}

function Manual({ inputRef, onRead, off }) {
  const [value, setValue] = useState("");
  const [problem, setProblem] = useState(null);
  const keys = useRef([]); // when the last characters came
  const { digits } = typed(value);
  const live = problem ?? liveProblem(digits);
  const left = 18 - digits.length;
  function input(e) {
    setValue(e.target.value);
    setProblem(null);
    keys.current = [...keys.current.slice(-17), performance.now()];
  }
  function submit(e) {
    e.preventDefault();
    if (off) return;
    const { digits: d, readBy } = typed(value);
    const why = problemOf(d);
    const quick = keys.current.length > 8 && (keys.current.at(-1) - keys.current[0]) / keys.current.length < SCANNER_MS;
    keys.current = [];
    if (why) {
      setProblem(why);
      tone(false);
      if (quick || readBy === "nw7") setValue(""); // the scanner types the next one behind it
      return;
    }
    setValue("");
    setProblem(null);
    onRead(d, readBy);
  }
  return (
    <form class="manual" onSubmit={submit} noValidate>
      <div class="field">
        <label for="line">番号の入力（手入力・スキャナー）</label>
        <p class="help" id="line-help">券面の18桁。全角や区切りの「-」があっても構いません。</p>
        <div class="row">
          <input id="line" ref={inputRef} value={value} onInput={input} inputMode="numeric" autocomplete="off" spellcheck={false}
            aria-describedby="line-help line-state" aria-invalid={live ? "true" : undefined} maxLength={60} disabled={off} />
          <button disabled={off}>確認へ</button>
        </div>
        <p class={live ? "problem" : "help"} id="line-state" aria-live="polite">
          {live ?? (digits === "" ? "" : left > 0 ? `あと${left}桁` : "検査数字は合っています。Enterで確認へ。")}
        </p>
      </div>
    </form>
  );
}
