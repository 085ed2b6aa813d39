// Two JsSIP: register, a wrong password, a message, a WebRTC call (ICE, DTLS-SRTP) that is heard, unregister.

import { createRequire } from 'node:module';
import { check, once, pause } from './checks.mjs';
import { Listener, loadWebRtc, tone } from './sound.mjs';

const TEXT = 'hello over a WebSocket \u00e9\u4e2d';
const CALL_MILLISECONDS = 5_000;

export async function jssip(options) {
  const wrtc = options.skip.has('call') ? null : loadWebRtc();
  const JsSIP = createRequire(import.meta.url)('jssip');
  const agent = ([user, password]) =>
    new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(options.url)],
      uri: `sip:${user}@${options.domain}`,
      authorization_user: user,
      password,
      register_expires: 120,
      session_timers: false,
    });

  await wrongPassword(agent(options.a.with(1, `${options.a[1]}-wrong`)));
  const a = agent(options.a);
  const b = agent(options.b);
  const registrations = Promise.all([once(a, 'registered'), once(b, 'registered')]);
  a.start();
  b.start();
  const [registeredA, registeredB] = await registrations;
  check('JsSIP: alice registers', registeredA);
  check('JsSIP: bob registers', registeredB);
  if (registeredA && registeredB) {
    const bob = `sip:${options.b[0]}@${options.domain}`;
    await message(a, b, bob);
    if (wrtc) await call(wrtc, a, b, bob);
    const unregistered = once(a, 'unregistered', 5_000);
    a.unregister();
    check('JsSIP: alice unregisters', await unregistered);
  }
  a.stop();
  b.stop();
  // It says no when its farewell is sent.
  await pause(800);
}

async function wrongPassword(agent) {
  const refusal = once(agent, 'registrationFailed');
  agent.start();
  const event = await refusal;
  check('JsSIP: a wrong password is refused', [401, 403].includes(event?.response?.status_code), event?.cause);
  agent.stop();
}

async function message(a, b, bob) {
  const arrival = once(b, 'newMessage', 8_000, (event) => event.originator === 'remote');
  const answer = new Promise((resolve) => {
    const eventHandlers = { succeeded: () => resolve('2xx'), failed: (event) => resolve(event.cause) };
    a.sendMessage(bob, TEXT, { eventHandlers });
  });
  const arrived = await arrival;
  check('JsSIP: MESSAGE arrives as it was sent', arrived?.request?.body === TEXT, arrived?.request?.body);
  const outcome = await Promise.race([answer, pause(8_000)]);
  check('JsSIP: MESSAGE gets a 2xx', outcome === '2xx', outcome);
}

async function call(wrtc, a, b, bob) {
  const heardByA = new Listener(wrtc);
  const heardByB = new Listener(wrtc);
  const toneOfA = tone(wrtc, 440);
  const toneOfB = tone(wrtc, 1000);
  const incoming = new Promise((resolve) => {
    b.on('newRTCSession', ({ originator, session }) => {
      if (originator !== 'remote') return;
      session.on('peerconnection', ({ peerconnection }) => heardByB.attach(peerconnection));
      resolve(session);
    });
  });
  const outgoing = a.call(bob, { mediaStream: toneOfA.stream, rtcOfferConstraints: { offerToReceiveAudio: true } });
  if (outgoing.connection) heardByA.attach(outgoing.connection);
  outgoing.on('peerconnection', ({ peerconnection }) => heardByA.attach(peerconnection));
  const ringing = once(outgoing, 'progress', 8_000);
  const confirmedAtA = once(outgoing, 'confirmed', 12_000);
  const failure = once(outgoing, 'failed', 12_000).then((event) => ({ cause: event?.cause ?? 'nothing came' }));
  const session = await Promise.race([incoming, failure]);
  if (check('WebRTC: INVITE reaches bob', !session.cause, session.cause)) {
    check('WebRTC: alice sees ringing', await ringing);
    const confirmedAtB = once(session, 'confirmed', 12_000);
    const ended = once(session, 'ended', 20_000);
    session.answer({ mediaStream: toneOfB.stream });
    check('WebRTC: the call is confirmed at both ends', (await confirmedAtA) && (await confirmedAtB));
    await pause(CALL_MILLISECONDS);
    const ice = outgoing.connection?.iceConnectionState;
    check('WebRTC: ICE and DTLS are through', ['connected', 'completed'].includes(ice), ice);
    for (const [name, listener, hertz] of [['alice', heardByA, 1000], ['bob', heardByB, 440]]) {
      const share = listener.share(hertz);
      check(`WebRTC: ${name} hears ${hertz} Hz`, share > 0.5, `share ${share} of ${listener.samples.length} samples`);
    }
    outgoing.terminate();
    check("WebRTC: BYE closes bob's leg", await ended);
  }
  for (const one of [toneOfA, toneOfB, heardByA, heardByB]) one.stop();
}
