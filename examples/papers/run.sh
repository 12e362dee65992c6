#!/usr/bin/env bash
# Runs the experiments behind docs/results.md and prints their figures.
#
#   examples/papers/run.sh [--data FOLDER] [--host COLLA_HOST] [--out DIR] [TABLE]...
#
# TABLE: heart-disease optdigits robust fedprox stragglers qsgd mcmahan; default: all of them. cnn, McMahan's CNN, only if named.
# FOLDER: MNIST's four IDX files, which all tables but the first two need.
# COLLA_HOST: the binary; default: the one on the path. DIR: where the runs go; default: runs/papers.
# Every command is printed. A run that is complete in DIR is not run again, so the script may be stopped and started.
set -euo pipefail

fail() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }

host=colla-host out=runs/papers mnist=
tables=()
while [ $# -gt 0 ]; do
  case $1 in
    --data | --host | --out)
      [ $# -ge 2 ] || fail "$1 needs a value"
      case $1 in --data) mnist=$2 ;; --host) host=$2 ;; --out) out=$2 ;; esac
      shift 2 ;;
    heart-disease | optdigits | robust | fedprox | stragglers | qsgd | mcmahan | cnn) tables+=("$1"); shift ;;
    *) fail "unknown table or option $1; tables: heart-disease optdigits robust fedprox stragglers qsgd mcmahan cnn" ;;
  esac
done
[ ${#tables[@]} -gt 0 ] || tables=(heart-disease optdigits robust fedprox stragglers qsgd mcmahan)
host=$(command -v "$host") || fail "no such program: $host; give the path of the binary with --host"
configs=$(dirname "$0")

# run NAME SEED CONFIG [ARGUMENT]...: one run, in DIR/TABLE/NAME/SEED. The seed is that of the partition too.
run() {
  local folder=$out/$table/$1/$2 seed=$2 config=$configs/$3
  shift 3
  if grep -qs '"complete": true' "$folder/summary.json"; then return; fi
  rm -rf "$folder"
  set -- "$config" --seed "$seed" --set "partition.seed=$seed" "$@"
  [ "$config" = "$configs/heart-disease.toml" ] || [ "$config" = "$configs/optdigits.toml" ] || set -- "$@" --data "$mnist"
  printf '$ colla-host %s\n' "$*" >&2
  "$host" "$@" --quiet --out "$folder"
}

# figure NAME MEASURE: one line of the table, over all seeds of NAME.
# MEASURE: `last=N`, test accuracy, mean over the last N rounds; `clients`, mean over the clients of their accuracies after the
# last round; `rounds=A`, rounds to accuracy A after McMahan et al.: best so far, interpolated linearly between rounds.
figure() {
  local seconds
  seconds=$(awk -F'[:,]' '/^  "seconds"/ { sum += $2; n++ } END { printf "%.1f", sum / n }' "$out/$table/$1"/*/summary.json)
  awk -F, -v name="$1" -v measure="${2%%=*}" -v value="${2#*=}" -v seconds="$seconds" '
    function finish(    i, n, mean, squares) {
      if (measure == "last") {
        for (i = rounds - value + 1; i <= rounds; i++) mean += accuracy[i] / value
        for (i = rounds - value + 1; i <= rounds; i++) squares += (accuracy[i] - mean) ^ 2
        if (value > 1) swing += sqrt(squares / (value - 1))
        add(mean)
      } else if (measure == "clients") {
        add(clients)
      } else if (reached) {
        add(reached)
      } else {
        missed++
      }
    }
    function add(x) { figures[++count] = x; sum += x }
    FNR == 1 {
      if (NR > 1) finish()
      for (i = 1; i <= NF; i++) column[$i] = i
      best = reached = 0
      next
    }
    {
      rounds = $column["round"]
      accuracy[rounds] = $column["test_accuracy"]
      clients = $column["client_accuracy.mean"]
      upload = $column["upload_bytes"]
      if (measure == "rounds" && !reached && accuracy[rounds] >= value)
        reached = rounds - 1 + (value - best) / (accuracy[rounds] - best)
      if (accuracy[rounds] > best) best = accuracy[rounds]
    }
    END {
      finish()
      printf "%-46s", name
      if (count) {
        for (i = 1; i <= count; i++) squares += (figures[i] - sum / count) ^ 2
        format = measure == "rounds" ? "%6.0f ± %-6.0f" : "%.4f ± %.4f"
        sd = count > 1 ? sqrt(squares / (count - 1)) : 0
        printf format, sum / count, sd
      }
      printf "  %d seeds", count + missed
      if (missed) printf ", %d of them not within %d rounds", missed, rounds
      if (swing) printf ", from round to round ± %.4f", swing / count
      printf ", %d bytes up in the last round, %s s a run\n", upload, seconds
    }' "$out/$table/$1"/*/metrics.csv
}

need_mnist() { [ -n "$mnist" ] || fail "the table $table needs MNIST; give its folder with --data"; }

heart_disease() {
  local adam=fedadam:server-learning-rate=0.01,beta1=0.9,beta2=0.999,tau=1e-8,initial-v=0
  for seed in $(seq 42 61); do
    run fedavg "$seed" heart-disease.toml
    run fedprox "$seed" heart-disease.toml --plugin fedprox:mu=0.01
    run fedadam "$seed" heart-disease.toml --set train.learning-rate=0.01 --plugin $adam
  done
  for name in fedavg fedprox fedadam; do figure $name clients; done
}

optdigits() {
  local late=(--set stragglers.share=0.9)
  local mild=(--set partition.alpha=0.5 --set train.local-epochs=1)
  local iid=(--set partition.kind=iid --set federation.fraction-train=1.0 --set train.local-epochs=1 --set train.batch-size=32)
  for seed in $(seq 1 20); do
    run fedavg "$seed" optdigits.toml
    run scaffold "$seed" optdigits.toml --plugin scaffold
    run late,dropped "$seed" optdigits.toml "${late[@]}" --set stragglers.work=dropped
    run late,mu=0 "$seed" optdigits.toml "${late[@]}"
    run late,mu=0.1 "$seed" optdigits.toml "${late[@]}" --plugin fedprox:mu=0.1
    run fedavg,alpha=0.5,E=1 "$seed" optdigits.toml "${mild[@]}"
    run scaffold,alpha=0.5,E=1 "$seed" optdigits.toml "${mild[@]}" --plugin scaffold
    for model in logistic mlp; do
      run "central,$model" "$seed" optdigits.toml "${iid[@]}" --set partition.num-clients=1 --set model.name=$model
      run "iid,$model" "$seed" optdigits.toml "${iid[@]}" --set partition.num-clients=10 --set model.name=$model
    done
  done
  for name in fedavg scaffold late,dropped late,mu=0 late,mu=0.1 fedavg,alpha=0.5,E=1 scaffold,alpha=0.5,E=1; do figure $name last=10; done
  for name in central,logistic central,mlp iid,logistic iid,mlp; do figure $name last=1; done
}

robust() {
  need_mnist
  local rules=(fedavg median trimmed-mean:beta=0.3 krum:f=6 multi-krum:f=6 geometric-median meamed:f=6 mda:f=6
    centered-clip:tau=1 norm-bound:norm=1 fltrust "nnm:f=6 trimmed-mean:beta=0.3")
  local attacks=(none gaussian:sd=10 sign-flip alie:z=1.5 ipm:epsilon=3)
  for attack in "${attacks[@]}"; do
    for rule in "${rules[@]}"; do
      local arguments=()
      for plugin in $rule; do arguments+=(--plugin "$plugin"); done
      [ "$rule" != fltrust ] || arguments+=(--set federation.root-rows=100)
      [ "$attack" = none ] || arguments+=(--plugin "$attack" --set attack.fraction=0.3)
      for seed in 1 2 3; do run "${rule// /+},$attack" "$seed" robust.toml "${arguments[@]}"; done
      figure "${rule// /+},$attack" last=1
    done
  done
}

fedprox() {
  need_mnist
  for seed in 1 2 3 4 5; do
    run logistic "$seed" fedprox-mnist.toml
    run logistic,pixels/255 "$seed" fedprox-mnist.toml --set data.features=scale
  done
  for name in logistic logistic,pixels/255; do figure $name last=10; done
}

stragglers() {
  need_mnist
  local dropped=(--set stragglers.work=dropped) names=()
  for share in 0.0 0.9; do
    local late=(--set train.local-epochs=10 --set "stragglers.share=$share")
    for seed in 1 2 3 4 5; do
      run "fedavg,$share" "$seed" fedprox-mnist.toml "${late[@]}" "${dropped[@]}"
      for mu in 0 1 2; do run "mu=$mu,$share" "$seed" fedprox-mnist.toml "${late[@]}" --plugin fedprox:mu=$mu; done
    done
    names+=("fedavg,$share" "mu=0,$share" "mu=1,$share" "mu=2,$share")
  done
  for name in "${names[@]}"; do figure "$name" last=20; done
}

qsgd() {
  need_mnist
  local control=(--set train.batch-size=128 --rounds 60)
  for seed in 1 2 3; do
    run none,B=128 "$seed" qsgd.toml "${control[@]}"
    run qsgd,B=128 "$seed" qsgd.toml "${control[@]}" --plugin qsgd:bits=8
    run topk,B=128 "$seed" qsgd.toml "${control[@]}" --plugin topk:ratio=0.1
  done
  for seed in 1 2 3; do
    run none "$seed" qsgd.toml
    run qsgd "$seed" qsgd.toml --plugin qsgd:bits=8
  done
  for name in none qsgd; do figure $name last=1; figure $name last=10; done
  for name in none,B=128 qsgd,B=128 topk,B=128; do figure $name last=10; done
}

mcmahan() {
  need_mnist
  for seed in 1 2 3; do
    for rate in 0.05 0.1 0.2 0.3; do
      run "iid,C=0.1,rate=$rate" "$seed" mcmahan-2nn.toml --set train.learning-rate=$rate
      run "iid,C=0,rate=$rate" "$seed" mcmahan-2nn.toml --set train.learning-rate=$rate \
        --set federation.fraction-train=0.01 --rounds 400
      run "shards,C=0.1,rate=$rate" "$seed" mcmahan-2nn.toml --set train.learning-rate=$rate \
        --set partition.kind=shards --rounds 600
    done
  done
  for split in iid,C=0.1 iid,C=0 shards,C=0.1; do
    for rate in 0.05 0.1 0.2 0.3; do figure "$split,rate=$rate" rounds=0.97; done
  done
}

cnn() {
  need_mnist
  run cnn 1 mcmahan-cnn.toml
  figure cnn rounds=0.99
}

for table in "${tables[@]}"; do
  printf '\n%s\n' "$table"
  "${table//-/_}"
done
