// Shows the tasks, and turns what the user does into changes.
import { Tasks } from './tasks.js';

const $ = (selector, element = document) => element.querySelector(selector);
const list = $('#list');
const rows = new Map();
let tasks;

function say(text) {
  $('#said').textContent = text;
}

/** The text of a conflict, and of the two ways out of it. */
function conflict({ mine, theirs }) {
  if (!mine) return ['This task was changed while you deleted it.', 'Delete it', 'Keep it'];
  if (!theirs) return [`This task was deleted while you changed it to “${mine.title}”.`, 'Add it again', 'Leave it deleted'];
  const text = ({ title, completed }) => `“${title}” (${completed ? 'completed' : 'active'})`;
  return [`Somebody else has changed this task to ${text(theirs)}. You: ${text(mine)}.`, 'Keep mine', 'Take theirs'];
}

/** Sets what differs, so that the row keeps the focus. */
function show(row, task) {
  const { title, completed, isSaving } = task.theirs ? task.theirs : task;
  row.task = task;
  row.classList.toggle('completed', completed);
  $('input[type=checkbox]', row).checked = completed;
  $('input[type=checkbox]', row).setAttribute('aria-label', `Completed: ${title}`);
  $('.title', row).textContent = title;
  $('.edit', row).setAttribute('aria-label', `Edit: ${title}`);
  $('.delete', row).setAttribute('aria-label', `Delete: ${title}`);
  $('.saving', row).hidden = !isSaving;
  const isConflict = task.theirs !== undefined;
  $('.conflict', row).hidden = !isConflict;
  for (const control of row.querySelectorAll('.task input, .task button')) control.disabled = isConflict;
  if (!isConflict) return;
  const [text, mine, theirs] = conflict(task);
  $('.conflict p', row).textContent = text;
  $('.mine', row).textContent = mine;
  $('.theirs', row).textContent = theirs;
}

function create(id) {
  const row = $('#row').content.firstElementChild.cloneNode(true);
  const [box, title, editor] = ['input[type=checkbox]', '.title', '.editor'].map((selector) => $(selector, row));
  row.dataset.id = id;
  const value = () => ({ title: row.task.title, completed: row.task.completed });

  const edit = (isOn) => {
    if (editor.hidden !== isOn) return;
    row.classList.toggle('editing', isOn);
    editor.hidden = !isOn;
    title.hidden = isOn;
    if (!isOn) return;
    editor.value = row.task.title;
    editor.select();
  };
  const save = () => {
    const text = editor.value.trim();
    if (!editor.hidden && text && text !== row.task.title) tasks.set(id, { ...value(), title: text });
    edit(false);
  };

  box.addEventListener('change', () => {
    tasks.set(id, { ...value(), completed: box.checked });
    say(`${row.task.title}: ${box.checked ? 'completed' : 'active'}`);
  });
  title.addEventListener('dblclick', () => row.task.theirs === undefined && edit(true));
  $('.edit', row).addEventListener('click', () => edit(true));
  editor.addEventListener('blur', save);
  editor.addEventListener('keydown', (event) => {
    const { key } = event;
    if (key !== 'Enter' && key !== 'Escape') return;
    // Otherwise Enter presses the button that gets the focus.
    event.preventDefault();
    if (key === 'Enter') save();
    edit(false);
    $('.edit', row).focus();
  });
  $('.delete', row).addEventListener('click', () => {
    say(`${row.task.title}: deleted`);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    (neighbour ? $('input', neighbour) : $('#title')).focus();
    tasks.set(id, null);
  });
  for (const [selector, isMine] of [['.mine', true], ['.theirs', false]]) {
    $(selector, row).addEventListener('click', () => {
      tasks.resolve(id, isMine);
      (row.isConnected ? box : $('#title')).focus();
      $('#alert').textContent = '';
    });
  }
  return row;
}

function render() {
  const all = tasks.list();
  const filter = ['active', 'completed'].find((name) => location.hash === `#${name}`) ?? 'all';
  const isShown = ({ completed, theirs }) => filter === 'all' || theirs !== undefined || completed === (filter === 'completed');
  const shown = all.filter(isShown);
  const ids = new Set(shown.map(({ id }) => id));
  for (const [id, row] of rows) {
    if (!ids.has(id)) rows.delete(id) && row.remove();
  }
  const { activeElement } = document;
  const isEditing = $('.editing', list) !== null;
  shown.forEach((task, index) => {
    const row = rows.get(task.id) ?? create(task.id);
    rows.set(task.id, row);
    show(row, task);
    // A row that is moved loses the focus, which ends an edit.
    const mayMove = !isEditing || !row.isConnected;
    if (list.children[index] !== row && mayMove) list.insertBefore(row, list.children[index] ?? null);
  });
  if (activeElement.isConnected && document.activeElement !== activeElement) activeElement.focus();
  list.setAttribute('aria-busy', !tasks.isLive);
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${filter}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  const left = all.filter(({ completed }) => !completed).length;
  $('#count').textContent = tasks.isLive ? `${left} of ${all.length} left` : '';
  $('#empty').hidden = shown.length > 0;
  $('#empty').textContent = !tasks.isLive ? 'Loading' : all.length ? 'No task is like that.' : 'Nothing to do.';
}

function connection(state, text) {
  $('#connection').dataset.state = state;
  $('#connection').textContent = text;
}

function begin(streams, options) {
  const url = new URL(streams, document.baseURI);
  url.searchParams.set('liveEvent', 'true');
  tasks = new Tasks(url, options);
  tasks.addEventListener('change', render);
  tasks.addEventListener('refused', ({ detail }) => ($('#alert').textContent = `Not saved: ${detail.reason}.`));
  tasks.addEventListener('conflict', ({ detail: { id } }) => {
    const { mine, theirs } = tasks.list().find((task) => task.id === id);
    $('#alert').textContent = `Conflict: ${(theirs ?? mine).title}`;
  });
  tasks.stream.addEventListener('open', () => connection('open', 'live'));
  tasks.stream.addEventListener('error', () => {
    const isOver = tasks.stream.readyState === 2;
    connection(isOver ? 'over' : 'lost', isOver ? 'ended' : 'offline');
  });
  addEventListener('hashchange', render);
  $('#add').addEventListener('submit', (event) => {
    event.preventDefault();
    const title = $('#title').value.trim();
    if (!title) return;
    tasks.add({ title, completed: false });
    say(`${title}: added`);
    $('#title').value = '';
  });
  $('#tasks').hidden = false;
  render();
  $('#title').focus();
}

function signIn(streams, user) {
  sessionStorage.setItem('user', user);
  $('#user b').textContent = user;
  $('#user').hidden = false;
  $('#leave').addEventListener('click', () => {
    sessionStorage.removeItem('user');
    location.reload();
  });
  const token = async () => {
    const response = await fetch(`token/${user}`, { method: 'POST' });
    if (!response.ok) throw new Error(`there is no token: ${response.status}`);
    return response.text();
  };
  begin(streams, { user, token });
}

const { streams, guarded } = await (await fetch('config.json')).json();
const user = sessionStorage.getItem('user');
if (!guarded) begin(streams);
else if (user) signIn(streams, user);
else {
  connection('over', 'signed out');
  $('#enter').hidden = false;
  $('#name').focus();
  $('#enter').addEventListener('submit', (event) => {
    event.preventDefault();
    $('#enter').hidden = true;
    connection('connecting', 'connecting');
    signIn(streams, $('#name').value);
  });
}
