// Changing hands: who read what is kept; blocked while something is unsent; a file as the way out.
import { useState } from "preact/hooks";
import { exported, received } from "../outbox.js";
import { Field } from "../parts.jsx";
import { logOut } from "../session.js";
import { change, day, japanese, useApp } from "../state.js";
import { SHORTEST, maySetUnlock, setUnlock } from "../unlock.js";

function download(text, terminal) {
  const a = document.createElement("a");
  a.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  a.download = `vrs-${terminal ?? "tablet"}-${new Date().toISOString().slice(0, 16).replace(/[-:]/g, "")}.json`;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}

export function Export() {
  const s = useApp();
  const count = s.waiting.length + s.attention.length;
  return (
    <>
      <p>未送信の記録を、封印したままファイルに書き出します。別の端末の「ファイルから受け取る」で送れます。ファイルの中身は、どの端末でも開けません。
        この端末に残る記録と両方が届いても、二重には登録されません。</p>
      <button disabled={count === 0} onClick={async () => download(await exported(), s.app?.terminal)}>未送信・要対応の {count} 件をファイルに書き出す</button>
    </>
  );
}

export function Import() {
  const [words, setWords] = useState(null);
  const [bad, setBad] = useState(null);
  async function take(e) {
    const [file] = e.target.files;
    e.target.value = "";
    setWords(null);
    setBad(null);
    if (!file) return;
    try {
      const n = await received(await file.text());
      setWords(n > 0 ? `${n}件を受け取りました。つながると自動で送ります。` : "すべて受け取り済みの記録です。");
    } catch (x) {
      setBad(x.message);
    }
  }
  return (
    <Field id="file" label="ファイルから受け取る（別の端末の未送信の記録）" problem={bad}>
      <input id="file" type="file" accept="application/json,.json" onChange={take} />
      <p aria-live="polite">{words}</p>
    </Field>
  );
}

export function Handover() {
  const s = useApp();
  const left = [...s.waiting, ...s.attention].filter(r => !s.exported.includes(r.id)).length;
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>交代・終了</h1>
      <p>いま読み取っているのは {s.user?.user_id ?? "—"} です。誰が読み取ったかは記録ごとに残ります。</p>
      {left > 0 ? (
        <div class="notice amber" role="status">
          <p><b>未送信・要対応の記録が {left} 件あるため、まだ終了できません。</b></p>
          <p>通信できる場所に移るか、つながるまで待ってください。要対応は「記録と枚数」で解決してください。</p>
          <Export />
        </div>
      ) : <p>未送信の記録はありません。</p>}
      <div class="buttons">
        <button class="main" disabled={left > 0} onClick={logOut}>終了して次の人に渡す</button>
        <button onClick={() => change({ page: s.sitting ? "read" : "setup" })}>読み取りに戻る</button>
      </div>
      {maySetUnlock() && <Unlock />}
      {s.session === "open" && !maySetUnlock() && (
        <>
          <h2>通信できないときの解錠コード</h2>
          <p>{s.unlock ? `${s.unlock.user_id} が設定した解錠コードが、${until(s.unlock)}まで有効です。` : "設定されていません。"}
            解錠コードは、その権限のある責任者がログインして設定します。</p>
        </>
      )}
    </section>
  );
}

const until = unlock => japanese(day(unlock.ends));

function Unlock() {
  const s = useApp();
  const [problem, setProblem] = useState(null);
  const [words, setWords] = useState(null);
  async function submit(e) {
    e.preventDefault();
    const form = new FormData(e.target);
    setWords(null);
    if (form.get("code").length < SHORTEST) return setProblem(`${SHORTEST}文字以上にしてください。`);
    if (form.get("code") !== form.get("again")) return setProblem("2回の入力が違います。");
    setProblem(null);
    await setUnlock(form.get("code"));
    e.target.reset();
    setWords("設定しました。");
  }
  return (
    <>
      <h2>通信できないときの解錠コード（責任者）</h2>
      <p>通信のない場所で端末が再起動したとき、このコードで読み取りだけを続けられます。読み取った記録は保管され、ログインした後に送られます。
        コードは7日で無効になります。{s.unlock && `いまは ${s.unlock.user_id} が設定したコードが、${until(s.unlock)}まで有効です。`}</p>
      <form onSubmit={submit}>
        <Field id="code" label={`解錠コード（${SHORTEST}文字以上）`} problem={problem}><input id="code" name="code" type="password" autocomplete="new-password" /></Field>
        <Field id="again" label="もう一度"><input id="again" name="again" type="password" autocomplete="new-password" /></Field>
        <button>解錠コードを設定する</button>
        <p aria-live="polite">{words}</p>
      </form>
    </>
  );
}
