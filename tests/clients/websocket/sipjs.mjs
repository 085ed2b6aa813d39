// Two SIP.js: register, a message, presence.

import * as SIP from 'sip.js';
import { check, pause, until } from './checks.mjs';

const TEXT = 'hi from SIP.js';
const NOTE = 'at my desk';

export async function sipjs(options) {
  const messages = [];
  const onMessage = (message) => {
    messages.push(message.request.body);
    message.accept();
  };
  const a = await agent(options, options.a);
  const b = await agent(options, options.b, { onMessage });
  check('SIP.js: alice registers', a.isRegistered);
  check('SIP.js: bob registers', b.isRegistered);
  if (a.isRegistered && b.isRegistered) {
    const bob = SIP.UserAgent.makeURI(`sip:${options.b[0]}@${options.domain}`);
    await new SIP.Messager(a.agent, bob, TEXT).message();
    check('SIP.js: MESSAGE arrives', await until(() => messages.includes(TEXT)), messages);
    if (!options.skip.has('presence')) await presence(a.agent, b.agent, bob);
  }
  for (const { agent: userAgent, registerer } of [a, b]) {
    // The other one's checks are worth more than its goodbye.
    await registerer.unregister().catch(() => {});
    await pause(300);
    await userAgent.stop();
  }
}

async function agent(options, [user, password], delegate = {}) {
  const userAgent = new SIP.UserAgent({
    uri: SIP.UserAgent.makeURI(`sip:${user}@${options.domain}`),
    transportOptions: { server: options.url, traceSip: false },
    authorizationUsername: user,
    authorizationPassword: password,
    delegate,
    logBuiltinEnabled: false,
  });
  await userAgent.start();
  const registerer = new SIP.Registerer(userAgent, { expires: 120 });
  await registerer.register();
  const isRegistered = await until(() => registerer.state === SIP.RegistererState.Registered);
  return { agent: userAgent, registerer, isRegistered };
}

async function presence(a, b, bob) {
  const notes = [];
  const onNotify = (notification) => {
    notes.push(notification.request.body || '');
    notification.accept();
  };
  const extraHeaders = ['Accept: application/pidf+xml'];
  const subscriber = new SIP.Subscriber(a, bob, 'presence', { expires: 120, extraHeaders, delegate: { onNotify } });
  await subscriber.subscribe();
  check('SIP.js: SUBSCRIBE gets a NOTIFY', await until(() => notes.length > 0));
  const pidf =
    '<?xml version="1.0" encoding="UTF-8"?>' +
    `<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="${bob}"><tuple id="t1"><status><basic>open</basic>` +
    `</status><note>${NOTE}</note></tuple></presence>`;
  const publisher = new SIP.Publisher(b, bob, 'presence', { contentType: 'application/pidf+xml', expires: 120 });
  await publisher.publish(pidf);
  const told = await until(() => notes.some((note) => note.includes(NOTE)));
  check('SIP.js: the watcher is told what bob published', told, `${notes.length} notifications`);
  await publisher.unpublish().catch(() => {});
  check('SIP.js: what bob published is gone with it', await until(() => !notes.at(-1).includes(NOTE)), notes.at(-1));
  await subscriber.unsubscribe().catch(() => {});
  await pause(800);
}
