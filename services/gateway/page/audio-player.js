// Plays the audio of a window: all chunks of all sources at their times, after one click.

let context = null;
let playing = [];

export function stop() {
  playing.forEach((source) => source.stop());
  playing = [];
}

/** Play members from `startUs` to `endUs` and call `onEnd` at the end. Rejects if the browser cannot decode them. */
export async function play(members, startUs, endUs, onEnd) {
  stop();
  context ??= new AudioContext();
  await context.resume();
  const decoded = await Promise.all(
    members.map(async (member) => {
      const response = await fetch(member.media);
      if (!response.ok) throw new Error(`${member.media}: ${response.status}`);
      return [member, await context.decodeAudioData(await response.arrayBuffer())];
    }),
  );
  const startS = context.currentTime + 0.05;
  for (const [member, buffer] of decoded) {
    const offsetS = (member.t_us - startUs) / 1e6;
    const skipS = Math.max(-offsetS, 0);
    const lengthS = Math.min(buffer.duration - skipS, (endUs - startUs) / 1e6 - Math.max(offsetS, 0));
    if (lengthS <= 0) continue;
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.start(startS + Math.max(offsetS, 0), skipS, lengthS);
    playing.push(source);
  }
  const last = playing.at(-1);
  if (last) last.onended = onEnd;
  else onEnd();
}
