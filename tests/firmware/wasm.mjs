// Runs checks in MicroPython for WebAssembly: 32 bits, so small integers end at 2**30 as on a board.
// node wasm.mjs <micropython.mjs> <lib folder> <checks folder> <models folder> <check> ...
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const [module, lib, checks, models, ...names] = process.argv.slice(2);
const { loadMicroPython } = await import(module);
const mp = await loadMicroPython({ heapsize: 256 * 1024, stdout: (text) => console.log(text), linebuffer: true });
mp.FS.mkdir("/models");
for (const [from, to] of [[lib, "/"], [checks, "/"], [models, "/models/"]])
    for (const name of readdirSync(from))
        if (/\.(py|bin|json)$/.test(name)) mp.FS.writeFile(to + name, readFileSync(join(from, name)));
try {
    mp.runPython(`
import sys
sys.path.append("/")
for name in ${JSON.stringify(names)}:
    module = __import__(name)
    for function in sorted(dir(module)):
        if function.startswith("test_"):
            getattr(module, function)()
            print("ok", name, function)
`);
} catch (error) {
    console.error(error.message); // the stack is a megabyte of generated code
    process.exit(1);
}
