import { mount } from "svelte";
import "@patchbay/orb";
import "./page.css";
import Page from "./Page.svelte";
import { keepShell } from "./shell.ts";
import { applyTheme } from "./theme.ts";

applyTheme();
mount(Page, { target: document.getElementById("page") ?? document.body });
keepShell();
