;; The smallest guest: it looks at nothing, calls nobody and is done. Its bytes are in module-configmap.yaml:
;;   python -c "import wasmtime,sys; sys.stdout.buffer.write(wasmtime.wat2wasm(open('hello.wat').read()))" >hello.wasm
(component
  (core module $guest
    (memory (export "memory") 8)
    (global $free (mut i32) (i32.const 1024))
    ;; Never frees: the memory ends with the run.
    (func (export "realloc") (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
      (global.set $free (i32.add (local.get $at) (local.get $size)))
      (local.get $at))
    ;; result<string, string> at 16: ok (0), the string's address (64) and its length (52).
    (func (export "run") (param $context i32) (param $length i32) (result i32) (i32.const 16))
    (data (i32.const 16) "\00\00\00\00\40\00\00\00\34\00\00\00")
    (data (i32.const 64) "{\"action\":\"Completed\",\"output\":{\"greeting\":\"hello\"}}"))
  (core instance $instance (instantiate $guest))
  (func (export "run") (param "context" string) (result (result string (error string)))
    (canon lift (core func $instance "run")
      (memory (core memory $instance "memory")) (realloc (core func $instance "realloc")))))
