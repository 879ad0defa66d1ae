/** The app's own account, by e-mail and password. */
import type { SupabaseClient } from "@supabase/supabase-js";
import { type FormEvent, useState } from "react";
import { signInFault } from "./sign_in_fault.ts";

export function SignIn({ client }: { client: SupabaseClient }) {
  const [fault, setFault] = useState<string | null>(null);
  const [isBusy, setBusy] = useState(false);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setFault(null);
    const { error } = await client.auth.signInWithPassword({
      email: String(form.get("email")),
      password: String(form.get("password")),
    });
    if (error) setFault(signInFault(error));
    setBusy(false);
  };
  return (
    <main className="narrow" id="main">
      <form className="card" onSubmit={submit}>
        <h1>Sign in</h1>
        <p className="quiet">With the account that you use in TalentOps.</p>
        <label className="text">
          E-mail<input name="email" type="email" autoComplete="username" required autoFocus />
        </label>
        <label className="text">
          Password<input name="password" type="password" autoComplete="current-password" required />
        </label>
        {fault && <p className="fault" role="alert">{fault}</p>}
        <button type="submit" className="primary" disabled={isBusy}>{isBusy ? "Signing in…" : "Sign in"}</button>
      </form>
    </main>
  );
}
