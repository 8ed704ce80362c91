// Pictures from the camera to the worker, one under way at a time; what the policy makes of them.
import { Policy } from "./policy.js";

/* global READER_WORKER */
const NW7_EVERY = 3; // bar codes cost most: every third picture that nothing else reads

export const WHY = {
  insecure: "この画面が安全な接続（https）で開かれていないため、カメラを使えません。管理者に連絡してください。下の欄に手入力できます。",
  denied: "カメラの使用が許可されていません。ブラウザーの設定でカメラを許可してください。下の欄に手入力できます。",
  none: "カメラが見つかりません。接続を確認してください。下の欄に手入力できます。",
  busy: "カメラを使えません。ほかのアプリがカメラを使っていないか確認してください。下の欄に手入力できます。",
};

const whyOf = e => ({ NotAllowedError: WHY.denied, NotFoundError: WHY.none, OverconstrainedError: WHY.none })[e.name] ?? WHY.busy;

/** `on`: {accept(digits, by, doubts), clash(numbers)}; → {problem} or {stop, pause, resume, take} */
export async function openCamera(video, on) {
  if (!window.isSecureContext || !navigator.mediaDevices) return { problem: WHY.insecure };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: false, video: { facingMode: { ideal: "environment" }, width: { ideal: 1280 }, height: { ideal: 720 } },
    });
  } catch (e) {
    return { problem: whyOf(e) };
  }
  video.srcObject = stream;
  await video.play().catch(() => {});
  const worker = new Worker(READER_WORKER);
  const policy = new Policy();
  let stopped = false, paused = false, count = 0;

  async function next() {
    if (stopped) return;
    if (paused || video.readyState < 2 || video.videoWidth === 0) {
      setTimeout(next, 30);
      return;
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(video);
    } catch { // a picture that cannot be had now; the next one may
      setTimeout(next, 200);
      return;
    }
    worker.postMessage({ id: ++count, bitmap, nw7: count % NW7_EVERY === 0 }, [bitmap]);
  }

  worker.onmessage = ({ data }) => {
    if (stopped) return;
    if (!paused) {
      const what = policy.frame(data.reads, performance.now());
      if (what?.accept) on.accept(what.accept, what.by, data.reads.find(r => r.digits === what.accept)?.doubts);
      else on.clash(what?.clash ?? null);
    }
    requestAnimationFrame(next);
  };
  worker.onerror = () => { if (!stopped) setTimeout(next, 500); };
  next();
  return {
    take: digits => policy.take(digits, performance.now()),
    pause() {
      paused = true;
      video.pause();
    },
    resume() {
      paused = false;
      policy.resume(performance.now());
      video.play().catch(() => {});
    },
    stop() {
      stopped = true;
      worker.terminate();
      for (const t of stream.getTracks()) t.stop();
      video.srcObject = null;
    },
  };
}

let audio = null;

/** A high tone: read.  Two low ones: look here. */
export function tone(good) {
  navigator.vibrate?.(good ? 80 : [80, 60, 80]);
  try {
    audio ??= new AudioContext();
    const beep = (from, hz) => {
      const o = audio.createOscillator(), g = audio.createGain();
      o.frequency.value = hz;
      g.gain.value = 0.15;
      o.connect(g).connect(audio.destination);
      o.start(audio.currentTime + from);
      o.stop(audio.currentTime + from + 0.12);
    };
    if (good) beep(0, 1760);
    else [0, 0.2].forEach(t => beep(t, 330));
  } catch { /* no sound is no reason to stop */ }
}
