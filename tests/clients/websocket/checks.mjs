// Named checks in TAP, and waiting that ends.

let count = 0;
let failed = 0;

// Prints one check and returns whether it passed.
export function check(name, outcome, detail = '') {
  count += 1;
  if (!outcome) failed += 1;
  const tail = outcome || !detail ? '' : `  # ${String(detail).replace(/\s+/g, ' ').slice(0, 300)}`;
  console.log(`${outcome ? 'ok' : 'not ok'} ${count} - ${name}${tail}`);
  return Boolean(outcome);
}

// Prints the plan and ends the program: with 0 where every check passed.
export function finish() {
  console.log(`1..${count}\n${count - failed} passed, ${failed} failed`);
  process.exit(failed || !count ? 1 : 0);
}

// Waits for an event that fits; null when the time is over.
export function once(emitter, event, milliseconds = 10_000, fits = () => true) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(null), milliseconds);
    emitter.on(event, (data) => {
      if (!fits(data)) return;
      clearTimeout(timer);
      resolve(data ?? true);
    });
  });
}

// Waits until a condition holds, and returns whether it does.
export async function until(holds, milliseconds = 8_000) {
  const end = Date.now() + milliseconds;
  while (!holds() && Date.now() < end) await pause(50);
  return Boolean(holds());
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
