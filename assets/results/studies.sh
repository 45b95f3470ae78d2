#!/usr/bin/env bash
# Trains and evaluates what the studies in this folder compare, on the bundled model: about an hour and a half on 2 cores.
# Run from the top of the project; trainings go to runs/, and go on where they were stopped.
set -euo pipefail
cd "$(dirname "$0")/../.."

train() { # FOLDER OPTIONS...
    [ -f "runs/$1/config.json" ] || python -m compressor train --model tiny --out "runs/$1" "${@:2}"
}
evaluate() { # RESULT OPTIONS...
    python -m compressor evaluate --model tiny --json "assets/results/$1.json" "${@:2}"
}
compressors() { # FOLDERS...
    printf -- '--compressor runs/%s ' "$@"
}

# The losses (Table 6), by AdamW and by plain SGD: at 90 %, penalties of 1, a gradient clipped to a norm of 1e-2 or not.
losses() { # FOLDER OPTIONS...
    train "$1/pred" "${@:2}" --lambda-entropy 0 --lambda-collapse 0 --clip-mode none
    train "$1/pred-entropy" "${@:2}" --lambda-entropy 1 --lambda-collapse 0 --clip-mode none
    train "$1/pred-collapse" "${@:2}" --lambda-entropy 0 --lambda-collapse 1 --clip-mode none
    train "$1/pred-collapse-clip" "${@:2}" --lambda-entropy 0 --lambda-collapse 1 --clip-mode norm
    train "$1/all-clip" "${@:2}" --lambda-entropy 1 --lambda-collapse 1 --clip-mode norm
    evaluate "$1" --methods none --rates 0.9 $(compressors "$1"/{pred,pred-entropy,pred-collapse,pred-collapse-clip,all-clip})
}
few="--rates 0.9 --dialogues 1536 --validation 64"
losses ablation $few --steps 300
losses ablation-sgd $few --steps 150 --optimizer sgd --lr 0.1

# Transfer (Table 7) between two worlds that share no class of object and no kind of question.
for world in scenes-a scenes-b; do
    train "transfer/$world" $few --steps 300 --data "$world"
done
for world in scenes-a scenes-b; do
    evaluate "transfer-$world" --data "$world" --methods none,sample,divprune --rates 0.9 \
        $(compressors transfer/{scenes-a,scenes-b})
done

# One set of weights for all rates (the recipe, from three seeds) against weights for one rate.
for seed in 0 1 2; do
    train "seeds/$seed" --seed "$seed"
done
for rate in 50 70 90 95; do
    train "one-rate/$rate" --rates "0.$rate" --steps 300
done
evaluate seeds --methods none,sample,spatial,divprune,tome --rates 0.7,0.9,0.95 --dialogues 1000 $(compressors seeds/{0,1,2})
evaluate one-rate --methods none --rates 0.5,0.7,0.9,0.95 $(compressors seeds/0 one-rate/{50,70,90,95})

# The trained selection among the references of tiny.json; its weights lie in assets/compressors/tiny-topk.
[ -f runs/topk/topk.pt ] || python -m compressor train --model tiny --out runs/topk --generator topk \
    --lambda-entropy 0 --lambda-collapse 0 --max-grad 1 --steps 600 --dialogues 1536 --validation 64
