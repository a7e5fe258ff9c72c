// The page of `examples/todo`.
import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cuttable } from './cuttable.js';
import { browser } from './demo.js';
import { streams, todo } from './todo.js';

const pictures = fileURLToPath(new URL('.out/', import.meta.url));
const timeout = 120_000;
let chromium;

before(async () => {
  await mkdir(pictures, { recursive: true });
  chromium = await browser();
});

after(() => chromium?.close());

async function start(t, ...args) {
  const server = await todo(...args);
  t.after(async () => assert.equal(await server.close(), 0, 'exit status'));
  return server;
}

async function profile(t) {
  const context = await chromium.newContext({ viewport: { width: 720, height: 560 }, colorScheme: 'light' });
  t.after(() => context.close());
  return context;
}

/** A page that is live, of a profile of its own unless there is one. */
async function open(t, port, context) {
  const page = await (context ?? (await profile(t))).newPage();
  page.setDefaultTimeout(30_000);
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  t.after(() => assert.deepEqual(errors, [], 'errors in the page'));
  await page.goto(`http://localhost:${port}/`);
  return page;
}

const live = (page) => page.locator('#connection', { hasText: 'live' }).waitFor();
const row = (page, title) => page.getByRole('listitem').filter({ has: page.getByText(title, { exact: true }) });
const gone = (page, title) => row(page, title).waitFor({ state: 'detached' });
const is = (page, title, state) => page.locator(state === 'completed' ? 'li.completed' : 'li:not(.completed)').filter({ hasText: title }).waitFor();
/** The stream has confirmed whatever the page has changed. */
const saved = (page) => page.waitForFunction(() => !document.querySelector('.saving:not([hidden])'));
const add = async (page, title) => {
  await page.getByLabel('What needs to be done?').fill(title);
  await page.keyboard.press('Enter');
  await row(page, title).waitFor();
};
const edit = async (page, title, text) => {
  await page.getByRole('button', { name: `Edit: ${title}` }).click();
  await page.getByRole('textbox', { name: 'Title' }).fill(text);
  await page.keyboard.press('Enter');
};

test('two pages show the changes of each other', { timeout }, async (t) => {
  const { port } = await start(t);
  const [one, two] = [await open(t, port), await open(t, port)];
  await Promise.all([one, two].map(live));
  await add(one, 'milk');
  // A page shows a task before the service has it.
  await saved(one);
  await add(two, 'tea');
  for (const page of [one, two]) await row(page, 'milk').and(page.locator(':above(:text("tea"))')).waitFor();

  await row(two, 'milk').getByRole('checkbox').check();
  await is(one, 'milk', 'completed');
  await edit(one, 'tea', 'green tea');
  await row(two, 'green tea').waitFor();
  await gone(two, 'tea');

  await one.getByRole('link', { name: 'Active' }).click();
  await gone(one, 'milk');
  await row(one, 'green tea').waitFor();
  await one.getByRole('link', { name: 'Completed' }).click();
  await row(one, 'milk').waitFor();
  await gone(one, 'green tea');
  assert.equal(await one.locator('#count').textContent(), '1 of 2 left');

  await two.getByRole('button', { name: 'Delete: milk' }).click();
  for (const page of [one, two]) await gone(page, 'milk');
  const late = await open(t, port);
  await row(late, 'green tea').waitFor();
  assert.equal(await late.getByRole('listitem').count(), 1);
  await two.screenshot({ path: `${pictures}todo.png` });
});

test('the keyboard does all, and what it did is said', { timeout }, async (t) => {
  const { port } = await start(t);
  const page = await open(t, port);
  await live(page);
  const said = (text) => page.getByRole('status').filter({ hasText: text }).waitFor();
  const keys = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  await page.keyboard.type('milk');
  await keys('Enter');
  await said('milk: added');
  // Past Add and three filters to the checkbox.
  await keys('Tab', 'Tab', 'Tab', 'Tab', 'Tab', 'Space');
  await is(page, 'milk', 'completed');
  await said('milk: completed');
  await saved(page);
  await keys('Tab', 'Enter');
  await page.keyboard.type('no');
  await keys('Escape');
  await row(page, 'milk').waitFor();
  await keys('Enter');
  await page.keyboard.type('oat milk');
  await keys('Enter');
  await row(page, 'oat milk').waitFor();
  await saved(page);
  await keys('Tab', 'Enter');
  await gone(page, 'oat milk');
  await said('oat milk: deleted');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'title');
  // Each control has a name.
  await add(page, 'tea');
  const unnamed = await page.locator('button:visible, input:visible').evaluateAll((all) =>
    all.filter((one) => !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).map((one) => one.outerHTML),
  );
  assert.deepEqual(unnamed, []);
});

test('changes in quick succession are all made', { timeout }, async (t) => {
  const { port } = await start(t);
  const [one, two] = [await open(t, port), await open(t, port)];
  await Promise.all([one, two].map(live));
  await add(one, 'milk');
  for (let round = 0; round < 5; round++) {
    for (const isOn of [true, false]) await row(one, 'milk').getByRole('checkbox').setChecked(isOn);
  }
  await edit(one, 'milk', 'oat milk');
  await row(one, 'oat milk').getByRole('checkbox').check();
  await is(two, 'oat milk', 'completed');
  await saved(one);
  assert.equal(await one.locator('.conflict:visible').count(), 0);
});

test('a page that was offline catches up, and sends what was changed there', { timeout }, async (t) => {
  const { port } = await start(t);
  const network = await cuttable(port);
  t.after(() => network.close());
  const [away, other] = [await open(t, network.port), await open(t, port)];
  await Promise.all([away, other].map(live));
  const titles = ['milk', 'tea', 'salt'];
  for (const title of titles) await add(other, title);
  for (const title of titles) await row(away, title).waitFor();

  network.cut();
  await away.locator('#connection', { hasText: 'offline' }).waitFor();
  await other.getByRole('button', { name: 'Delete: milk' }).click();
  await row(other, 'tea').getByRole('checkbox').check();
  await add(away, 'bread');
  await row(away, 'salt').getByRole('checkbox').check();
  await row(away, 'bread').getByText('saving').waitFor();
  await is(away, 'salt', 'completed');
  assert.equal(await row(away, 'milk').count(), 1, 'it knows nothing of the other page');
  await is(other, 'salt', 'active');

  network.mend();
  for (const page of [away, other]) {
    await gone(page, 'milk');
    for (const title of ['tea', 'salt']) await is(page, title, 'completed');
    await is(page, 'bread', 'active');
    await saved(page);
    assert.equal(await page.getByRole('listitem').count(), 3, 'the new task is there once');
    assert.equal(await page.locator('.conflict:visible').count(), 0);
  }
});

test('a conflict is shown and resolved', { timeout }, async (t) => {
  const { port } = await start(t);
  const network = await cuttable(port);
  t.after(() => network.close());
  const [away, other] = [await open(t, network.port), await open(t, port)];
  await Promise.all([away, other].map(live));
  const titles = ['milk', 'tea', 'salt', 'bread'];
  for (const title of titles) await add(other, title);
  for (const title of titles) await row(away, title).waitFor();

  network.cut();
  await away.locator('#connection', { hasText: 'offline' }).waitFor();
  for (const title of ['milk', 'tea']) {
    await edit(other, title, `${title} of the other`);
    await edit(away, title, `${title} of mine`);
  }
  await other.getByRole('button', { name: 'Delete: salt' }).click();
  await edit(away, 'salt', 'salt of mine');
  await edit(other, 'bread', 'bread of the other');
  await away.getByRole('button', { name: 'Delete: bread' }).click();
  await gone(away, 'bread');
  await saved(other);
  network.mend();

  const conflict = (text) => away.getByRole('group', { name: 'Conflict' }).filter({ hasText: text });
  await conflict('milk of mine').waitFor();
  await conflict('tea of mine').waitFor();
  await conflict('This task was deleted while you changed it to “salt of mine”.').waitFor();
  await conflict('This task was changed while you deleted it.').waitFor();
  assert.notEqual(await away.getByRole('alert').textContent(), '');
  await away.screenshot({ path: `${pictures}conflict.png` });
  // What the other page did holds until the user says otherwise.
  for (const page of [away, other]) await row(page, 'milk of the other').waitFor();

  await conflict('milk of mine').getByRole('button', { name: 'Keep mine' }).click();
  await conflict('tea of mine').getByRole('button', { name: 'Take theirs' }).click();
  await conflict('salt of mine').getByRole('button', { name: 'Add it again' }).click();
  await conflict('while you deleted it').getByRole('button', { name: 'Delete it' }).click();
  for (const page of [away, other]) {
    for (const title of ['milk of mine', 'tea of the other', 'salt of mine']) await row(page, title).waitFor();
    await gone(page, 'bread of the other');
    await saved(page);
    assert.equal(await page.getByRole('listitem').count(), 3);
  }
  assert.equal(await away.locator('.conflict:visible').count(), 0);
});

test('a change that is refused is taken back', { timeout }, async (t) => {
  const { port } = await start(t);
  const page = await open(t, port);
  await live(page);
  await add(page, 'milk');
  await saved(page);
  // The service takes titles of 1000 bytes, and so does the page: only another client of the service sends more.
  await page.locator('#title').evaluate((input) => input.removeAttribute('maxlength'));
  const long = 'long '.repeat(250).trim();
  await page.getByLabel('What needs to be done?').fill(long);
  await page.keyboard.press('Enter');
  await page.getByRole('alert').filter({ hasText: 'Not saved' }).waitFor();
  await gone(page, long);
  await row(page, 'milk').waitFor();
});

test('users see their own tasks, and a page outlives its tokens', { timeout }, async (t) => {
  const { port } = await start(t, '--guarded', '--token-life', '12');
  const users = [];
  for (const name of ['ada', 'bob']) {
    const page = await open(t, port);
    await page.getByLabel('Name').fill(name);
    await page.keyboard.press('Enter');
    await live(page);
    users.push(page);
  }
  const [ada, bob] = users;
  const states = await ada.evaluateHandle(() => {
    const states = [];
    new MutationObserver(() => states.push(document.querySelector('#connection').dataset.state)).observe(
      document.querySelector('#connection'),
      { attributes: true },
    );
    return states;
  });
  const challenges = [];
  ada.on('request', (request) => {
    if (request.headers()['content-type'] === 'application/x-challenge-response') challenges.push(request.url());
  });
  await add(ada, 'of ada');
  await add(bob, 'of bob');
  const end = Date.now() + 26_000;
  for (let number = 0; Date.now() < end; number++) {
    await add(ada, `task ${number}`);
    await saved(ada);
    await ada.waitForTimeout(1000);
  }
  assert.ok(challenges.length >= 2, 'no challenge was answered');
  assert.deepEqual(await states.jsonValue(), [], 'the stream of a valid token ended');
  await saved(bob);
  assert.equal(await bob.getByRole('listitem').count(), 1);
  assert.equal(await row(bob, 'of bob').count(), 1);
  const again = await open(t, port);
  await again.getByLabel('Name').fill('ada');
  await again.keyboard.press('Enter');
  await row(again, 'of ada').waitFor();
  assert.equal(await row(again, 'of bob').count(), 0);
});

test('tabs share one connection to the program', { timeout }, async (t) => {
  // Two processes: the example has a Kafka, and the program streams from it.
  const first = await start(t);
  const program = await streams(first.kafka);
  t.after(async () => assert.equal(await program.close(), 0, 'exit status'));
  const { port } = await start(t, '--kafka', first.kafka, '--streams', program.url);
  const context = await profile(t);
  await context.grantPermissions(['local-network-access']);
  const tabs = [];
  for (let number = 0; number < 4; number++) tabs.push(await open(t, port, context));
  await Promise.all(tabs.map(live));
  const count = async (wanted) => {
    for (const end = Date.now() + 30_000; (await program.connections()) !== wanted; ) {
      assert.ok(Date.now() < end, `${await program.connections()} connections in place of ${wanted}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await add(tabs[3], 'milk');
  for (const tab of tabs) await row(tab, 'milk').waitFor();
  await count(1);
  await tabs.shift().close();
  await add(tabs[0], 'tea');
  for (const tab of tabs) await row(tab, 'tea').waitFor();
  await count(1);
  // Another profile has another connection.
  const other = await open(t, port);
  await row(other, 'tea').waitFor();
  await count(2);
});
