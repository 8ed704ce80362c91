// When a reading of the camera counts (no clock, no page: plain, and tested in node).
//
//   QR at once · OCR and NW-7 after two equal reads · two readers that disagree about one view
//   refuse until it has left · the number taken last is ignored until it has left the view.

const WINDOW_MS = 2500; // two equal reads lie at most so far apart
const SAME_VIEW_MS = 400; // readings closer than this are of one view
const GONE_MS = 600; // not seen for so long, in at least GONE_FRAMES pictures: it has left
const GONE_FRAMES = 3;
const SAME_COUPON = 3; // numbers that differ in so few digits may be one coupon, read in two ways

const differ = (a, b) => [...a].filter((c, i) => c !== b[i]).length;

/** Numbers that are in view, until they have not been seen for a while. */
class InView {
  constructor(numbers, now) {
    this.numbers = new Set(numbers);
    this.at = now;
    this.without = 0;
  }

  has(digits) {
    return this.numbers.has(digits);
  }

  again(now) {
    this.at = now;
    this.without = 0;
  }

  /** One picture; true: they have left. */
  left(numbers, now) {
    if (numbers.some(d => this.numbers.has(d))) {
      this.again(now);
      return false;
    }
    return ++this.without >= GONE_FRAMES && now - this.at >= GONE_MS;
  }
}

export class Policy {
  constructor() {
    this.reset();
  }

  reset() {
    this.first = null; // {digits, at}: one of two equal reads
    this.taken = null; // InView: accepted, ignored while it stays
    this.typed = null; // the same for the number that was typed last
    this.clash = null; // InView: disagreed about, refused while it stays
    this.recent = []; // {digits, at} of the last pictures
  }

  /** Typed while its coupon may lie before the camera: not to be read again. */
  take(digits, now) {
    this.typed = new InView([digits], now);
    this.first = null;
  }

  /** Pictures come again after a pause, in which nothing was looked at: what lay there may lie there
   * still, and half a reading from before the pause is none. */
  resume(now) {
    for (const seen of [this.taken, this.typed, this.clash]) seen?.again(now);
    this.first = null;
    this.recent = [];
  }

  known(digits) {
    return this.taken?.has(digits) || this.typed?.has(digits);
  }

  /** One picture.  `reads`: [{by: "qr"|"ocr"|"nw7", digits}], valid 18-digit coupons only.
   * → null | {accept: digits, by} | {clash: [digits, …]} */
  frame(reads, now) {
    const numbers = [...new Set(reads.map(r => r.digits))];
    if (this.typed?.left(numbers, now)) this.typed = null;
    if (this.taken?.left(numbers, now) || (numbers.length === 1 && !this.taken?.has(numbers[0]))) this.taken = null;
    const clash = this.disagree(numbers, now);
    if (clash) {
      this.first = null;
      return { clash };
    }
    const [digits] = numbers;
    if (digits === undefined || this.known(digits)) return null;
    const qr = reads.find(r => r.by === "qr");
    const again = this.first?.digits === digits && now - this.first.at <= WINDOW_MS;
    if (qr || reads.length > 1 || again) {
      this.taken = new InView([digits], now);
      this.first = null;
      this.recent = [];
      return { accept: digits, by: (qr ?? reads[0]).by };
    }
    this.first = { digits, at: now };
    return null;
  }

  /** The numbers that this view was read as, when there are several. */
  disagree(numbers, now) {
    if (this.clash?.left(numbers, now)) this.clash = null;
    this.recent = this.recent.filter(r => now - r.at <= SAME_VIEW_MS);
    const others = this.recent.map(r => r.digits).filter(d => !this.known(d));
    for (const digits of numbers) this.recent.push({ digits, at: now });
    if (this.clash && numbers.length === 1) {
      const near = [...this.clash.numbers].some(d => differ(d, numbers[0]) <= SAME_COUPON);
      if (!near) this.clash = null; // another coupon lies there
      else if (!this.clash.has(numbers[0])) this.clash.numbers.add(numbers[0]);
      return this.clash ? [...this.clash.numbers] : null;
    }
    const near = numbers.length === 1 && !this.known(numbers[0])
      ? others.filter(d => d !== numbers[0] && differ(d, numbers[0]) <= SAME_COUPON) : [];
    const all = [...new Set([...numbers, ...near])];
    if (all.length < 2) return null;
    this.clash = new InView([...(this.clash?.numbers ?? []), ...all], now);
    return [...this.clash.numbers];
  }
}
