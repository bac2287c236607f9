// What the server says, and when it says that something changed.

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null));
  const answer = await fetch(`/api/${path}${query.size ? `?${query}` : ""}`, { headers: { accept: "application/json" } });
  if (answer.status === 401) {
    location.assign("/login");
    throw new Error("logged out");
  }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `the dashboard answered ${answer.status}`);
  return answer.json();
}

// changed(kinds) after an event, with an empty set after a new connection; heard(ok) on its state
export function listen(changed, heard) {
  const source = new EventSource("/api/events");
  let before = false;
  source.addEventListener("open", () => {
    heard(true);
    if (before) changed(new Set());
    before = true;
  });
  source.addEventListener("changed", (event) => changed(new Set(JSON.parse(event.data).changed)));
  source.addEventListener("error", () => {
    heard(false);
    // after an answer that is no stream the browser gives up; the dashboard may be back later
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(changed, heard), 3000);
  });
}
