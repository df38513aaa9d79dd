import { mount } from "svelte";
import "@patchbay/orb";
import "./page.css";
import Console from "./Console.svelte";
import { applyTheme } from "./theme.ts";

applyTheme();
mount(Console, { target: document.getElementById("page") ?? document.body });
