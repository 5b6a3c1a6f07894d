// The sounds of a window, played together where they belong: one click, however many chunks and sources.

let context = null;
let playing = [];

export function stop() {
  playing.forEach((source) => source.stop());
  playing = [];
}

/** Play members from `startUs` to `endUs`; calls `ended` when it is over. Rejects where a browser cannot decode. */
export async function play(members, startUs, endUs, ended) {
  stop();
  context ??= new AudioContext();
  await context.resume();
  const sounds = await Promise.all(
    members.map(async (member) => {
      const answer = await fetch(member.media);
      if (!answer.ok) throw new Error("gone");
      return [member, await context.decodeAudioData(await answer.arrayBuffer())];
    }),
  );
  const begins = context.currentTime + 0.05;
  for (const [member, buffer] of sounds) {
    const at = (member.t_us - startUs) / 1e6;
    const skip = Math.max(-at, 0);
    const length = Math.min(buffer.duration - skip, (endUs - startUs) / 1e6 - Math.max(at, 0));
    if (length <= 0) continue;
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.start(begins + Math.max(at, 0), skip, length);
    playing.push(source);
  }
  const last = playing.at(-1);
  if (last) last.onended = ended;
  else ended();
}
