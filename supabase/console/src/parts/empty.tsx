/** What stands where there is nothing yet: what it would be, and what to do next. */
import type { ReactNode } from "react";

type Props = { title: string; isPage?: boolean; children: ReactNode };

/** `isPage`: nothing else stands on the page, so this is its title. */
export function Empty({ title, isPage = false, children }: Props) {
  return (
    <div className="card empty">
      {isPage ? <h1>{title}</h1> : <h2>{title}</h2>}
      <div>{children}</div>
    </div>
  );
}
