// What several pages show.
import { dashed } from "./coupon.js";
import { WORDS, isGreen } from "./outbox.js";
import { change, useApp } from "./state.js";

/** 2-1-131032-0001000007, read aloud digit by digit. */
export function Digits({ digits, big }) {
  return (
    <span class={big ? "digits big" : "digits"}>
      <span aria-hidden="true">{dashed(digits)}</span>
      <span class="unseen">{dashed(digits).split("").map(c => (c === "-" ? "、" : c)).join(" ")}</span>
    </span>
  );
}

export function Header() {
  const s = useApp();
  const unsent = s.waiting.length;
  const go = page => () => change({ page });
  return (
    <header>
      <a class="skip" href="#main">本文へ</a>
      <p class="brand">接種記録の読み取り</p>
      <p class={unsent > 0 ? "unsent some" : "unsent"} role="status" id="unsent">未送信 <b>{unsent}</b> 件</p>
      {s.attention.length > 0 && <p class="attention" role="status">要対応 <b>{s.attention.length}</b> 件</p>}
      <nav aria-label="画面の切り替え">
        {s.session !== "none" && <Tab page="read" now={s.page} on={go("read")} off={!s.sitting}>読み取り</Tab>}
        {s.session === "open" && s.sitting?.pre_shot && <Tab page="preshot" now={s.page} on={go("preshot")}>接種前の確認</Tab>}
        <Tab page="list" now={s.page} on={go("list")}>記録と枚数</Tab>
        {s.session !== "none" && s.session !== "local" && <Tab page="setup" now={s.page} on={go("setup")}>ワクチン・会場</Tab>}
        {s.session === "none" && <Tab page="login" now={s.page} on={go("login")}>ログイン</Tab>}
        {s.session !== "none" && <Tab page="handover" now={s.page} on={go("handover")}>交代・終了</Tab>}
      </nav>
    </header>
  );
}

function Tab({ page, now, on, off, children }) {
  return <button class="quiet" aria-current={page === now ? "page" : undefined} disabled={off} onClick={on}>{children}</button>;
}

export function Notices() {
  const s = useApp();
  const minutes = Math.round(Math.abs(s.clock) / 60000), hours = Math.round(minutes / 60), days = Math.round(hours / 24);
  const off = minutes < 120 ? `${minutes}分` : hours < 48 ? `${hours}時間` : `${days}日`;
  return (
    <div class="notices" aria-live="polite">
      {!s.online && <p class="notice amber">サーバーにつながっていません。読み取った記録はこの端末に保管し、つながると自動で送ります。</p>}
      {s.session === "expired" && (
        <p class="notice amber">ログインの有効時間が過ぎました。記録は保管されています。
          <button onClick={() => change({ session: "none", page: "login" })}>ログインし直す</button></p>
      )}
      {s.session === "local" && (
        <p class="notice amber">解錠コードで読み取り中です。記録はこの端末に保管されます。送るにはログインしてください。
          <button onClick={() => change({ session: "none", page: "login" })}>ログインする</button></p>
      )}
      {s.clock !== 0 && <p class="notice amber">この端末の時計が約{off}{s.clock > 0 ? "進んで" : "遅れて"}います。端末の日付と時刻の設定を直してください。</p>}
      {s.newVersion && (
        <p class="notice blue">新しい版があります。{s.waiting.length > 0 ? "未送信の記録を送り終えると切り替えられます。" : "区切りのよいところで切り替えてください。"}
          <button onClick={() => s.newVersion()} disabled={s.waiting.length > 0}>新しい版に切り替える</button></p>
      )}
    </div>
  );
}

export function Mark({ row }) {
  const kind = row.outcome === "cancelled" ? "grey" : isGreen(row) ? "green" : "amber";
  const proof = row.outcome === "cancelled" || kind === "amber" ? "" :
    { holds: "・証明を確認済み", later: "・証明は後で届きます", unread: "" }[row.proof] ?? "";
  return (
    <span class={`mark ${kind}`}>
      {row.proof === "fails" ? "証明が正しくありません。管理者に連絡してください。" : WORDS[row.outcome] ?? row.outcome}{proof}
    </span>
  );
}

export function Field({ id, label, help, problem, children }) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {help && <p class="help" id={`${id}-help`}>{help}</p>}
      {children}
      <p class="problem" id={`${id}-problem`} aria-live="polite">{problem}</p>
    </div>
  );
}
