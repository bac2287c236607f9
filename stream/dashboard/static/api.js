// Requests to the JSON API, and its event stream.

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null));
  const response = await fetch(`/api/${path}${query.size ? `?${query}` : ""}`, { headers: { accept: "application/json" } });
  if (response.status === 401) {
    location.assign("/login");
    throw new Error("logged out");
  }
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail ?? `the dashboard responded with status ${response.status}`);
  return response.json();
}

// Calls changed(kinds) after an event, with an empty set after a reconnection; and heard(connected).
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
    // the browser gives up if the response is not a stream, but the dashboard may come back later
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(changed, heard), 3000);
  });
}
