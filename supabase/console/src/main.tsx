/** Starts the console: settings, the way to the project, the page. */
import { createRoot } from "react-dom/client";
import { App } from "./app.tsx";
import { open, readSettings, said } from "./project.ts";
import "./style.css";

const root = createRoot(document.getElementById("root")!);
readSettings().then(
  (settings) => root.render(<App client={open(settings)} />),
  (error) =>
    root.render(
      <main className="narrow">
        <p className="fault" role="alert">{said(error)}</p>
      </main>,
    ),
);
