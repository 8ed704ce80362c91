// The parts of the app that need no page: when a reading counts, the check digit, lots.
import { equal, finish, ok } from "./lib.mjs";
import { Again } from "../../tablet-api/app/src/again.js";
import { checkDigitOf, liveProblem, problemOf, typed } from "../../tablet-api/app/src/coupon.js";
import { Policy } from "../../tablet-api/app/src/policy.js";
import { lotFits } from "../../tablet-api/app/src/vaccine.js";

const A = "211310320001000007", B = "214620120009999995", A2 = "211310320001000001";
const frames = (policy, list, step = 100) => list.map((reads, i) =>
  policy.frame((Array.isArray(reads) ? reads : reads ? [reads] : []).map(r => ({ by: r.by, digits: r.digits })), i * step));
const ocr = digits => ({ by: "ocr", digits }), qr = digits => ({ by: "qr", digits }), nw7 = digits => ({ by: "nw7", digits });
const taken = results => results.map(r => r?.accept ?? (r?.clash ? "clash" : null));

equal(taken(frames(new Policy(), [qr(A)])), [A], "QR at once");
equal(taken(frames(new Policy(), [ocr(A), null, ocr(A)])), [null, null, A], "OCR after two equal reads");
equal(taken(frames(new Policy(), [nw7(A), nw7(A)])), [null, A], "NW-7 after two equal reads");
equal(taken(frames(new Policy(), [[ocr(A), nw7(A)]])), [A], "two readers that agree are two reads");
equal(taken(frames(new Policy(), [ocr(A), ocr(B), ocr(B)])), [null, null, B], "another coupon begins anew");
equal(taken(frames(new Policy(), [[qr(A), ocr(A2)], qr(A), qr(A)])), ["clash", "clash", "clash"],
  "QR and OCR that differ refuse, and stay refused while it is in view");
equal(taken(frames(new Policy(), [[qr(A), ocr(A2)], null, null, null, null, null, null, null, qr(A)])).at(-1), A,
  "until it has left");
equal(taken(frames(new Policy(), [ocr(A), ocr(A2), ocr(A2)])), [null, "clash", "clash"], "OCR against itself refuses, too");
equal(taken(frames(new Policy(), [[qr(A), ocr(A2)], qr(B)])), ["clash", B], "another coupon ends a refusal");
const p = new Policy();
equal(taken(frames(p, [ocr(A), ocr(A), ocr(A), null, ocr(A), ocr(A)])), [null, A, null, null, null, null],
  "the same number is ignored while it stays, a missed picture does not count as gone");
equal(taken(frames(new Policy(), [qr(A), ...Array(8).fill(null), qr(A)])).filter(Boolean), [A, A], "and read again when it was away");
equal(taken(frames(new Policy(), [qr(A), qr(B), qr(A)])), [A, B, A], "one after the other, and back");
const t = new Policy();
t.take(A, 0);
equal(taken(frames(t, [ocr(A), ocr(A)])), [null, null], "what was typed is not read again by the camera");
const u = new Policy();
frames(u, [qr(A)]);
u.take(B, 100);
equal(taken(frames(u, [qr(A), qr(A)])), [null, null], "typing another number does not bring the one in view back");
equal(new Policy().frame([], 0), null, "an empty picture is nothing");
const v = new Policy();
frames(v, [qr(A)]);
v.resume(5000);
equal([5100, 5200, 5300].map(t => v.frame([], t)).concat(v.frame([qr(A)], 5400)), [null, null, null, null],
  "a pause is no absence: what is missed for a moment behind it has not left");
v.resume(9000);
equal([9100, 9300, 9700].map(t => v.frame([], t)).concat(v.frame([qr(A)], 9800)?.accept), [null, null, null, A], "but it may leave");
const w = new Policy();
w.frame([ocr(A)], 0);
w.resume(100);
equal(taken([w.frame([ocr(A)], 200), w.frame([ocr(A)], 300)]), [null, A], "half a reading from before a pause is none");

const again = new Again();
equal(again.asks(A, 0), false, "the first time is no question");
again.note(A, 0);
equal([again.asks(A, 1), again.asks(A, 60000), again.asks(A, 60001), again.asks(B, 1)], [true, true, false, false],
  "the same within a minute is one, another is not");
again.undo(A);
equal([again.asks(A, 2), again.meant(A, 2), again.meant(B, 2), again.meant(A, 60001)], [false, true, false, false], "undone by a person: meant");
again.note(A, 3);
again.note(B, 3);
again.forget(B);
equal([again.asks(A, 4), again.meant(A, 4), again.asks(B, 4)], [true, false, false], "read again: a question again; what could not be kept is none");

equal(["01100", "13103", "14100", "27100", "46201", "13402", "11224", "27223"].map(checkDigitOf).join(""), "22342310",
  "check digits of domain.md");
equal(problemOf(A), null, "a valid line");
ok(/券番号10桁だけ/.test(problemOf("0001000007")), "ten digits alone never post");
ok(/検査数字/.test(problemOf("211310330001000007")), "a wrong check digit");
ok(/検査数字/.test(liveProblem("21131033")), "is said after the eighth digit");
equal(liveProblem("2113103"), null, "and not before");
equal(typed("a211310320001000007a"), { digits: A, readBy: "nw7" }, "a scanner's start and stop letters");
equal(typed("２－１－１３１０３２－０００１０００００７").digits, A, "full-width, with its hyphens");
ok(/数字だけ/.test(problemOf("21131O320001000007")), "a letter is no digit");
const pfizer = { lots: [{ prefix: "F", length: 6 }] };
equal([lotFits(pfizer, "ff-3620"), lotFits(pfizer, "3004733"), lotFits({ lots: [] }, "x")], [true, false, true], "lots of a maker");
finish();
