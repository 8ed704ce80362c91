import { loadApp } from "../session.js";
import { state } from "../state.js";

export function Revoked() {
  const { revoked, waiting, app } = state;
  return (
    <section class="narrow">
      <h1 tabIndex={-1}>{revoked.code === "terminal_revoked" ? "この端末は利用を停止されています" : "この端末は登録されていません"}</h1>
      <div class="notice red" role="alert">
        <p>{revoked.detail}</p>
        <p>通信の障害ではありません。この端末からは登録も照会もできません。</p>
      </div>
      <p>自治体の管理者に連絡し、端末名「{app?.terminal ?? "不明"}」を伝えてください。</p>
      {waiting.length > 0 && <p>未送信の記録 {waiting.length} 件は、この端末に封印して保管しています。「記録と枚数」から書き出し、別の端末で送ることができます。</p>}
      <button onClick={loadApp}>もう一度確かめる</button>
    </section>
  );
}
