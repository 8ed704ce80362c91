// The 18 digits of a coupon: kind, dose number, municipality (with its check digit), coupon number.

const WIDE = /[０-９Ａ-Ｚａ-ｚ]/g;

export const narrow = text => text.replace(WIDE, c => String.fromCharCode(c.charCodeAt(0) - 0xfee0));

/** Sum d1·6 … d5·2, check = last digit of 11 − (sum mod 11). */
export function checkDigitOf(code) {
  let sum = 0;
  for (let i = 0; i < 5; i++) sum += Number(code[i]) * (6 - i);
  return String((11 - (sum % 11)) % 10);
}

export const dashed = d => [d[0], d[1], d.slice(2, 8), d.slice(8)].filter(Boolean).join("-");
export const isNotGiven = d => d[0] === "1";

/** What was typed, pasted or sent by a scanner: digits only, and whether a bar code's start and stop
 * letters were around them. */
export function typed(text) {
  const plain = narrow(text).replace(/[\s\-‐－ー―]/g, "");
  const bar = /^[a-d](\d*)[a-d]$/i.exec(plain);
  return { digits: bar ? bar[1] : plain, readBy: bar ? "nw7" : "manual" };
}

/** null: a valid coupon; else the reason, in words that say what to do. */
export function problemOf(digits) {
  if (/[^0-9]/.test(digits)) return "数字だけを入力してください。";
  if (digits.length === 10) return "券番号10桁だけでは登録できません。券面の18桁すべてを入力してください。";
  if (digits.length !== 18) return `18桁のうち${digits.length}桁です。`;
  if (digits[0] !== "1" && digits[0] !== "2") return "先頭（券種）は2（接種）か1（予診のみ）です。";
  if (digits[1] === "0") return "2桁目（回数）は1〜9です。";
  if (checkDigitOf(digits.slice(2, 7)) !== digits[7])
    return "自治体コードの検査数字が合いません。券面を見直してください。";
  return null;
}

/** While typing: says as early as possible that something cannot be right. */
export function liveProblem(digits) {
  if (digits === "") return null;
  if (/[^0-9]/.test(digits)) return "数字だけを入力してください。";
  if (digits.length > 18) return "18桁より多く入力されています。";
  if (digits.length >= 8 || digits.length === 18) {
    const head = digits.padEnd(18, "1");
    if (problemOf(head)) return problemOf(head);
  }
  return null;
}
