// The same 18 digits twice within a minute on this tablet: a question to a person, not a dose.  The
// old national app showed the reading before as the new one; and a camera that loses a coupon from
// view for a moment reads it anew.  (No clock, no page: plain, and tested in node.)
//
// Noted in the moment of the confirmation, before sealing, disk and network, which take their time:
// from then on the question is asked, whatever the server knows by then.  Memory only.

const WINDOW_MS = 60000;

export class Again {
  constructor() {
    this.taken = new Map(); // digits → {at, undone}
  }

  note(digits, now) {
    for (const [old, { at }] of this.taken) if (now - at > WINDOW_MS) this.taken.delete(old);
    this.taken.set(digits, { at: now, undone: false });
  }

  /** A person undid it: the next one is meant. */
  undo(digits) {
    const was = this.taken.get(digits);
    if (was) was.undone = true;
  }

  /** It could not be kept: as if it had never been read. */
  forget(digits) {
    this.taken.delete(digits);
  }

  asks(digits, now) {
    const was = this.taken.get(digits);
    return !!was && !was.undone && now - was.at <= WINDOW_MS;
  }

  /** Was it read within the window, and undone: what the server need not ask about. */
  meant(digits, now) {
    const was = this.taken.get(digits);
    return !!was && was.undone && now - was.at <= WINDOW_MS;
  }
}
