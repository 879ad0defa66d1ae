/** The frame: who is signed in, what they may see, which page. */
import type { Session, SupabaseClient } from "@supabase/supabase-js";
import { useCallback, useEffect, useLayoutEffect, useState } from "react";
import { flushSync } from "react-dom";
import { plural } from "./format.ts";
import { Operator } from "./operator/operator.tsx";
import { Empty } from "./parts/empty.tsx";
import { usePolled } from "./parts/polled.ts";
import { call, signOut } from "./project.ts";
import { Results } from "./results.tsx";
import { load } from "./review/desk.ts";
import { Review } from "./review/review.tsx";
import { forget } from "./review/use_desk.ts";
import { usePlace } from "./routes.ts";
import type { Me } from "./shapes.ts";
import { SignIn } from "./sign_in.tsx";

const THEMES = ["auto", "light", "dark"] as const;

export function App({ client }: { client: SupabaseClient }) {
  const [session, setSession] = useState<Session | null | undefined>(undefined);
  useEffect(() => {
    const { data } = client.auth.onAuthStateChange((event, session) => {
      if (event !== "SIGNED_OUT") return setSession(session);
      // Whoever signs in next begins at their own first page, not at the one that was left.
      history.replaceState(null, "", location.pathname + location.search);
      // At once: an answer that is still on its way finds nobody who would keep it.
      flushSync(() => setSession(null));
    });
    return () => data.subscription.unsubscribe();
  }, [client]);
  const [theme, setTheme] = useState<string>(() => localStorage.getItem("console-theme") ?? "auto");
  // Before the plots are drawn, which take their colours from it.
  useLayoutEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    localStorage.setItem("console-theme", theme);
  }, [theme]);
  const themes = (
    <label className="theme">
      <span className="visually-hidden">Colours</span>
      <select value={theme} onChange={(event) => setTheme(event.target.value)}>
        {THEMES.map((name) => <option key={name} value={name}>{name} colours</option>)}
      </select>
    </label>
  );
  if (session === undefined) return <p className="narrow" role="status">One moment…</p>;
  if (session === null) {
    return (
      <>
        <header className="top">
          <strong className="brand">TalentOps console</strong>
          {themes}
        </header>
        <SignIn client={client} />
      </>
    );
  }
  return (
    <SignedIn
      key={session.user.id}
      client={client}
      session={session}
      theme={theme}
      themes={themes}
    />
  );
}

type Props = { client: SupabaseClient; session: Session; theme: string; themes: React.ReactNode };

function SignedIn({ client, session, theme, themes }: Props) {
  const user = session.user.id;
  const ask = useCallback(() => call<Me>(client, "slm_me"), [client]);
  const { data, fault } = usePolled(ask);
  const [known] = useState(() => remembered(user));
  const me = data ?? (fault ? known : null);
  useEffect(() => {
    if (data) localStorage.setItem(`console-me-${user}`, JSON.stringify(data));
  }, [data, user]);
  const place = usePlace();
  const part = place.path.split("/")[0] || (me?.may_review ? "review" : me?.is_operator ? "operator" : "review");
  useEffect(() => {
    document.title = `${part[0]?.toUpperCase()}${part.slice(1)} · TalentOps console`;
  }, [part]);
  const leave = async () => {
    const unsent = load(user).waiting.length;
    const loss = `${plural(unsent, "change is", "changes are")} not sent yet and would be lost.`;
    if (unsent > 0 && !confirm(`${loss} Sign out all the same?`)) return;
    await signOut(client, session.access_token);
    localStorage.removeItem(`console-me-${user}`);
    await forget(user);
  };
  const links = [
    ...(me?.may_review ? [["review", "Review"]] : []),
    ...(me?.may_review || me?.is_operator ? [["results", "Results"]] : []),
    ...(me?.is_operator ? [["operator", "Operator"]] : []),
  ] as [string, string][];
  return (
    <>
      <a
        className="skip-link"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById("main")?.focus();
        }}
      >
        Skip to content
      </a>
      <header className="top">
        <strong className="brand">TalentOps console</strong>
        <nav aria-label="Pages">
          {links.map(([path, name]) => (
            <a key={path} href={`#/${path}`} aria-current={path === part ? "page" : undefined}>{name}</a>
          ))}
        </nav>
        <span className="who">
          {me?.name || session.user.email}
          {me?.org ? <span className="quiet">· {me.org}</span> : null}
        </span>
        {themes}
        <button type="button" className="small quiet-button" onClick={leave}>Sign out</button>
      </header>
      <main id="main" tabIndex={-1} className={part}>
        {!me
          ? (fault ? <p className="fault" role="alert">{fault}</p> : <p role="status">One moment…</p>)
          : <Page part={part} me={me} {...{ client, user, theme, place }} />}
      </main>
    </>
  );
}

type PageProps = {
  part: string;
  me: Me;
  client: SupabaseClient;
  user: string;
  theme: string;
  place: ReturnType<typeof usePlace>;
};

function Page({ part, me, client, user, theme, place }: PageProps) {
  if (part === "review" && me.may_review) return <Review client={client} user={user} />;
  if (part === "results" && (me.may_review || me.is_operator)) return <Results client={client} place={place} />;
  if (part === "operator" && me.is_operator) return <Operator client={client} place={place} theme={theme} />;
  if (!me.may_review && !me.is_operator) {
    return (
      <Empty isPage title="Nothing here for you yet">
        {me.is_manager
          ? "You manage an organisation, so you can review answers: ask the operator to let you in (Operator, Reviewers)."
          : "Answers are reviewed by managers, and figures are for the operator. If you are one, ask the operator to let you in."}
      </Empty>
    );
  }
  return <Empty isPage title="There is no such page for you">Choose one above.</Empty>;
}

function remembered(user: string): Me | null {
  try {
    return JSON.parse(localStorage.getItem(`console-me-${user}`) ?? "null");
  } catch {
    return null;
  }
}
