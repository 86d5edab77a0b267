#!/usr/bin/env bash
# Everything that docs/results/biq2021-leaderboard.md shows, from nothing; broken off, it goes on.
#   docs/results/biq2021-leaderboard/repeat.sh [SHARED [RUN_DIR]]
set -euo pipefail
here=$(dirname "$0") shared=${1:-../shared} out=${2:-runs/biq2021-leaderboard}
common=(--config "$here/benchmark.yaml" --dataset biq2021 --data-root "$shared/data" --threads 1
    --backbone-weights "$shared/weights/mobilenet_v2-features-torchvision.pth" --out "$out")
methods=("dbcnn:scnn=$shared/weights/scnn.pkl" nima nima:head=emd denoise sat at:eps_255=2,steps=2+sat cprl
    cprl:pns=false kwta:share=0.5 at:eps_255=2,steps=2+resnet trades:eps_255=2,steps=2+resnet
    nt:weight=0.0001+resnet noise_augmentation+resnet jpeg+resnet bitdepth+resnet blur+resnet
    median+resnet resize+resnet noise+resnet)
slow=(lwta smoothing:samples=5+resnet) # many passes for one score: one radius, no standard-v1

flags() { for spec in "$@"; do printf -- '--defense\n%s\n' "$spec"; done; }
mapfile -t every < <(flags "${methods[@]}")
mapfile -t few < <(flags "${slow[@]}")
iqabench run "${common[@]}" "${every[@]}"
iqabench audit --quick --images 50 "${common[@]}" "${every[@]}"
iqabench run "${common[@]}" "${few[@]}" --eps 1
iqabench audit --quick --images 50 "${common[@]}" --out "$out-averaged" "${few[@]}"
iqabench run "${common[@]}" "${every[@]}" --attack standard-v1 --eps 2
# the clean score of the undefended network on all 500 test images
iqabench run "${common[@]}" --defense resnet --attack fgsm --eps 1 --images 500 --out "$out-whole"
# two more trainings of the row that holds, of the same one with ReLU6, and of the undefended network
iqabench run "${common[@]}" --out "$out-seeds" --seed 1,2 --eps 1,2 \
    --attack "pgd:objective=reflect,threshold=median" --attack "pgd:objective=rank_reverse" \
    --defense at:eps_255=2,steps=2+sat --defense at:eps_255=2,steps=2+resnet
# lwta through gradients averaged over more draws; both slow ones by images made on the undefended network
sed 's/^attack_draws: 2/attack_draws: 10/' "$here/benchmark.yaml" > "$out-averaged.yaml"
iqabench run "${common[@]}" --config "$out-averaged.yaml" --out "$out-averaged" --no-reference --eps 1 \
    --attack fgsm --attack "pgd:objective=reflect,threshold=median" --defense lwta
iqabench run "${common[@]}" --out "$out-averaged" "${few[@]}" --eps 1,2 \
    --attack "transfer:objective=reflect,threshold=median" \
    --attack "transfer:objective=reflect,threshold=median,diversity=0,steps=10" \
    --attack "transfer:objective=rank_reverse,diversity=0,steps=10"
