// How a coupon gets onto a page: the camera's picture, and the field for keys and scanners.
import { useEffect, useRef, useState } from "preact/hooks";
import { openCamera, tone } from "../camera.js";
import { liveProblem, problemOf, typed } from "../coupon.js";
import { Digits } from "../parts.jsx";

const SCANNER_MS = 35; // a scanner types faster than this a character

/** The camera as long as the page stands; → {video, camera, problem, clash}.  `accept` is that of the
 * page's first picture: it may use refs only. */
export function useCamera(accept) {
  const [clash, setClash] = useState(null);
  const [problem, setProblem] = useState(null); // why there is no camera
  const video = useRef(null), camera = useRef(null);
  useEffect(() => {
    let gone = false;
    openCamera(video.current, {
      accept: (...args) => {
        setClash(null);
        accept(...args);
      },
      clash: numbers => setClash(was => {
        if (numbers && !was) tone(false);
        return numbers;
      }),
    }).then(c => {
      if (gone) c.stop?.();
      else if (c.problem) setProblem(c.problem);
      else camera.current = c;
    });
    return () => {
      gone = true;
      camera.current?.stop?.();
    };
  }, []);
  return { video, camera, problem, clash };
}

export function Picture({ video, problem }) {
  return (
    <div class={`camera${problem ? " off" : ""}`}>
      <video ref={video} muted playsInline aria-label="カメラの映像。接種券の18桁かQRコードを枠に入れてください" />
      {!problem && <div class="frame" aria-hidden="true" />}
      {problem && <p class="notice amber" role="alert">{problem}</p>}
    </div>
  );
}

export function Clash({ numbers, done }) {
  return (
    <div class="card amber">
      <h2>読み取りが一致しません</h2>
      <p>同じ接種券が違う番号に読めました。{done}</p>
      <ul>{numbers.map(d => <li key={d}><Digits digits={d} /></li>)}</ul>
      <p>接種券を一度外し、もう一度かざすか、券面を見て手入力してください。</p>
    </div>
  );
}

/** While a question is open: a scanner's Enter behind its digits must not answer it.  → an end */
export function ignoreScanner(told) {
  let digits = [];
  function key(e) {
    if (/^[0-9a-d]$/i.test(e.key)) digits = [...digits.slice(-17), e.timeStamp];
    const burst = digits.length > 8 && (e.timeStamp - digits[0]) / digits.length < SCANNER_MS;
    if (e.key !== "Enter") return;
    digits = [];
    if (!burst) return;
    e.preventDefault();
    e.stopPropagation();
    told();
  }
  document.addEventListener("keydown", key, true);
  return () => document.removeEventListener("keydown", key, true);
}

export function Manual({ inputRef, onRead, off }) {
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
