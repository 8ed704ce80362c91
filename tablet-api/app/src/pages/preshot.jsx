// Before the shot: doses so far and the first day of the next one, for sites that want it.  Nothing is
// recorded, nothing is kept; what is shown goes with the next coupon, or after a minute.
import { useEffect, useRef, useState } from "preact/hooks";
import { call } from "../api.js";
import { tone } from "../camera.js";
import { note, stopped } from "../outbox.js";
import { Digits } from "../parts.jsx";
import { japanese, state, useApp } from "../state.js";
import { Clash, Manual, Picture, useCamera } from "./reader.jsx";

const SHOWN_MS = 60000;

/** → {answer} or {why} in words */
async function ask(digits) {
  if (state.session !== "open") return { why: "ログインしていないため、確認できません。" };
  const r = await call("POST", "/v1/coupons:pre-shot", { ocr_line: digits, product: state.sitting.product });
  note(r);
  if (r.ok) return { answer: r.json };
  stopped(r);
  if (r.away) return { why: "サーバーにつながらないため、確認できません。通信を確かめて、もう一度読み取ってください。" };
  if (r.status === 404) return { why: "この接種券は自治体に登録されていません。番号を確かめてください。" };
  if (r.status === 403) return { why: "別の自治体の接種券のため、確認できません。" };
  if (r.status === 429) return { why: "この端末で今日確認できる件数を超えました。明日また使えます。" };
  return { why: r.detail };
}

export function PreShot() {
  const { sitting, vaccines } = useApp();
  const [shown, setShown] = useState(null); // {digits, answer?, why?}: answered when one of them is there
  const field = useRef(null), now = useRef(null), hide = useRef(0);
  const { video, camera, problem, clash } = useCamera(look);
  const product = vaccines.find(p => p.id === sitting.product);

  function look(digits) {
    clearTimeout(hide.current);
    now.current = digits;
    tone(true);
    setShown({ digits });
    ask(digits).then(found => {
      if (now.current !== digits) return; // another coupon lies there
      setShown({ digits, ...found });
      hide.current = setTimeout(clear, SHOWN_MS);
    });
  }

  function clear() {
    clearTimeout(hide.current);
    now.current = null;
    setShown(null);
    field.current?.focus();
  }

  useEffect(() => {
    field.current?.focus();
    return () => {
      now.current = null;
      clearTimeout(hide.current);
    };
  }, []);

  return (
    <section>
      <h1 tabIndex={-1}>接種前の確認</h1>
      <p>これまでの接種回数と、次の接種ができる日を確かめます。ここで読み取っても登録はされません。</p>
      <p>ワクチン: <b>{product ? `${product.maker_ja} ${product.name_ja}` : sitting.product}</b></p>
      <div class="columns">
        <Picture video={video} problem={problem} />
        <div class="result" aria-live="assertive">
          {shown && <Found shown={shown} day={sitting.vaccinated_on} onDone={clear} />}
          {!shown && clash && <Clash numbers={clash} done="確認していません。" />}
          {!shown && !clash && <div class="card"><p>{problem ? "番号を入力するか、スキャナーで読み取ってください。" : "接種券の18桁の数字、またはQRコードを枠に入れてください。"}</p></div>}
        </div>
      </div>
      <Manual inputRef={field} onRead={digits => {
        camera.current?.take?.(digits);
        look(digits);
      }} />
    </section>
  );
}

function Found({ shown: { digits, answer, why }, day, onDone }) {
  const turn = Number(digits[1]);
  const early = answer?.earliest_next_on && day < answer.earliest_next_on;
  const other = answer?.next_dose_number && turn !== answer.next_dose_number;
  return (
    <div class={why || early || other ? "card amber" : "card ask"}>
      <h2>{why ? "確認できません" : answer ? "これまでの接種" : "確認しています…"}</h2>
      <p><Digits digits={digits} big /></p>
      {why && <p>{why}</p>}
      {answer && (
        <>
          <dl class="counts">
            <div><dt>これまで</dt><dd>{answer.doses_so_far}回</dd></div>
            <div><dt>次は</dt><dd>{answer.next_dose_number ? `${answer.next_dose_number}回目` : "—"}</dd></div>
            <div><dt>次の接種ができる日</dt><dd>{answer.earliest_next_on ? `${japanese(answer.earliest_next_on)}以降` : "間隔の決まりなし"}</dd></div>
          </dl>
          {early && <p class="warn"><b>前回の接種から間隔が足りません。</b>{japanese(answer.earliest_next_on)}より前には接種できません。</p>}
          {other && <p class="warn">この接種券は{turn}回目のものです。次は{answer.next_dose_number}回目です。接種券を確かめてください。</p>}
        </>
      )}
      {(answer || why) && <button onClick={onDone}>表示を消す</button>}
    </div>
  );
}
