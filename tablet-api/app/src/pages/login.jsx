import { useState } from "preact/hooks";
import { Field } from "../parts.jsx";
import { logIn } from "../session.js";
import { state } from "../state.js";

export function Login() {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  async function submit(e) {
    e.preventDefault();
    const form = new FormData(e.target);
    setBusy(true);
    setProblem(null);
    const why = await logIn(form.get("user"), form.get("password"));
    setBusy(false);
    setProblem(why);
  }
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>ログイン</h1>
      {state.app?.terminal && <p>端末 {state.app.terminal}{state.app.site && `（${state.app.site}）`}</p>}
      <form onSubmit={submit}>
        <Field id="user" label="ユーザーID">
          <input id="user" name="user" required autocomplete="username" autocapitalize="off" spellcheck={false} />
        </Field>
        <Field id="password" label="パスワード">
          <input id="password" name="password" type="password" required autocomplete="current-password" />
        </Field>
        <p class="problem" role="alert">{problem}</p>
        <button class="main" disabled={busy}>{busy ? "確認しています…" : "ログイン"}</button>
      </form>
    </section>
  );
}
