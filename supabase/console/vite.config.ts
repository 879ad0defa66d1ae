/** How the console becomes static files: the same bundle everywhere, what differs is in config.json beside it. */
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  plugins: [react()],
  build: { target: "es2022", outDir: process.env.CONSOLE_OUT ?? "dist", emptyOutDir: true, modulePreload: { polyfill: false }, assetsInlineLimit: 0 },
  server: { fs: { allow: ["..", "."] } },
});
